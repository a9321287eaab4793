"""A server's process: started so that it cannot outlive the worker, ended by its id."""

import contextlib
import logging
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from siwatsystem.errors import TargetUnavailable
from siwatsystem.metrics import RESTARTS

log = logging.getLogger(__name__)

# Gives up the rights, asks the kernel to be told when the thread that started it dies (a signal
# mask that a change of user would clear, hence the order), and becomes the server.
_WRAPPER = """
import ctypes, os, sys
uid, gid, told, parent = map(int, sys.argv[1:5])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
ctypes.CDLL(None).prctl(1, told)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[5], sys.argv[5:])
"""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as; uid -1 is the worker's own."""

    uid: int = -1
    gid: int = -1

    def own(self, path: Path) -> None:
        """Give `path` to this user."""
        if self.uid >= 0:
            os.chown(path, self.uid, self.gid)


def account_for(folder: Path) -> Account:
    """The worker's own user, or, for root, whom `folder` belongs to, else `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return Account()
    if folder.exists() and folder.stat().st_uid != 0:
        return Account(folder.stat().st_uid, folder.stat().st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise TargetUnavailable("an embedded server needs a user beside root (postgres or nobody)")


def reachable(path: Path, account: Account) -> bool:
    """Whether the account may walk through every folder above `path`."""
    if account.uid < 0:
        return True
    for folder in path.resolve().parents:
        if not folder.exists():
            continue
        status = folder.stat()
        shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
        if not status.st_mode >> shift & 1:
            return False
    return True


def command(argv: Sequence[str | Path], account: Account, told: signal.Signals) -> list[str]:
    """`argv` run as the account, sent `told` when the thread that starts it is gone."""
    head = [sys.executable, "-I", "-S", "-c", _WRAPPER]
    return [*head, str(account.uid), str(account.gid), str(int(told)), str(os.getpid()), *map(str, argv)]


def start(
    argv: Sequence[str | Path],
    account: Account,
    told: signal.Signals,
    log: Path,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, its output appended to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 # nosec B603 # paths of a package, no text from outside
            command(argv, account, told),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **(environment or {})},
        )


def wait_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str, log: Path) -> None:
    """Return once `ready`. Raises TargetUnavailable if the server ends or takes over a minute.

    After a crash on a busy disk, reading back what was kept does take that long.
    """
    deadline = time.monotonic() + 60
    while not ready():
        if process.poll() is not None:
            raise TargetUnavailable(f"embedded {name} ended with {process.returncode}: {_tail(log)}")
        if time.monotonic() > deadline:
            stop(process, signal.SIGKILL)
            raise TargetUnavailable(f"embedded {name} does not answer: {_tail(log)}")
        time.sleep(0.05)


def has_ended(process: subprocess.Popen[bytes], name: str) -> bool:
    """Whether a server that was started is gone, which nobody asked it to be: it is told and counted."""
    status = process.poll()
    if status is None:
        return False
    log.warning("embedded %s has ended with status %d and is started again", name, status)
    RESTARTS.labels("embedded").inc()
    return True


def stop(process: subprocess.Popen[bytes], asked: signal.Signals, timeout: float = 5.0) -> None:
    """Ask the server to end, then end it."""
    if process.poll() is None:
        # One that is stopped would not even see the request.
        process.send_signal(signal.SIGCONT)
        process.send_signal(asked)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return " | ".join(text.strip().splitlines()[-3:])
