"""Runs one app on a node of a Ray cluster, and ends it with the actor that asked for it.

`python -m siwatsystem.deepstream.ray_keeper FD`, a process of its own, because an actor may be killed
without a word; nobody's child, because Ray kills those of an actor that ends, and with them whoever could
end the app. It reads one line of JSON (`arguments`, `environment`, `mark`) from stdin, then single bytes:
T asks the app to end, K kills it, and so does the end of stdin: nobody waits for the app any more. To FD it
writes lines of JSON: `{"pid": …}` or `{"error": …}`, at last `{"code": …}`.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
from typing import Any

from siwatsystem.deepstream import groups

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG."""


def main() -> None:
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT):  # the actor ends it
        signal.signal(number, _pass)  # what is ignored the app would ignore as well
    tell_to = int(sys.argv[1])
    order = _line()
    if order is not None:
        _keep(json.loads(order), tell_to)


def _pass(*_: object) -> None:
    pass


def _line() -> bytes | None:
    """The first line of stdin, and not a byte more. None: it ended before."""
    read = b""
    while not read.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return None
        read += byte
    return read


def _keep(order: dict[str, Any], tell_to: int) -> None:
    try:
        child = subprocess.Popen(  # noqa: S603 # nosec B603 # a list of the server's making: see `allowed`
            order["arguments"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=order["environment"],
            preexec_fn=_end_with_keeper,  # noqa: PLW1509 # there is one thread
        )
    except (OSError, ValueError) as error:
        _tell(tell_to, error=getattr(error, "strerror", None) or str(error))
        return
    with contextlib.suppress(OSError):
        resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
    try:
        group = groups.Group(child.pid, order["mark"], reaped_here=True)
    except OSError as error:  # nobody could look after it
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        _tell(tell_to, error=f"it could not be watched: {error.strerror}")
        return
    _let_go_of_output()
    _tell(tell_to, pid=child.pid)
    _obey(group)
    group.end()
    code = child.wait()
    group.close()
    _tell(tell_to, code=code)


def _end_with_keeper() -> None:
    """Where this is killed together with the actor, nobody else could."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _let_go_of_output() -> None:
    """Whoever reads it sees its end when the app and all that it started have ended."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)


def _obey(group: groups.Group) -> None:
    """Until the leader has ended."""
    poll = select.poll()
    poll.register(group.descriptor, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if group.descriptor in ready:
            return
        orders = os.read(0, 64)
        if not orders:
            poll.unregister(0)
        if not orders or b"K" in orders:
            group.end()
        else:
            group.send(signal.SIGTERM)
            group.send(signal.SIGCONT)  # one that is stopped would not even see it


def _tell(tell_to: int, **news: Any) -> None:
    with contextlib.suppress(OSError):  # the actor is gone
        os.write(tell_to, json.dumps(news).encode() + b"\n")


if __name__ == "__main__":
    main()
