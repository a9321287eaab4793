"""What the benches' other sides have in common: a process of its own that is told what to do by lines.

Commands come as JSON lines on standard input, answers go as JSON lines to standard output; whatever a
library prints goes to standard error. Runs in the environments of all sides: the standard library only.

    {"do": "open", "urls": [...]}   starts reading and predicting; answers once every camera gave results
    {"do": "take"}                  {"times": [[...], ...]}: when each camera's results came
    {"do": "close"}                 {"closed": true}, or false where it could not be ended in time

Times are seconds of `time.monotonic`, which all processes of a machine share.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

SETTLED = 3
"""Results of each camera before a side counts as open: the first calls warm it up."""
OPEN_SEC = 90.0
CLOSE_SEC = 15.0
LOOPBACK = ("", "127.0.0.1", "::1", "localhost", "None")
Said = Callable[[int], None]


class Side(Protocol):
    """A library with its model loaded."""

    about: dict[str, Any]
    """What is worth keeping of how it runs: precision, input size, threads."""

    def run(self, urls: Sequence[str], said: Said, stop: threading.Event) -> None:
        """Predict on all cameras until `stop` is set; `said` is called with a camera's index, once for
        each of its frames that was predicted."""
        ...


class Served:
    """One side, opened and closed as it is told."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._times: list[list[float]] = []
        self._failure = ""

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "open":
                return self._open(command["urls"])
            case "take":
                return {"times": [list(times) for times in self._times]}
            case "close":
                return self._close()
            case other:
                return {"error": f"no such command: {other}"}

    def _open(self, urls: list[str]) -> dict[str, Any]:
        self._stop, self._failure = threading.Event(), ""
        self._times = [[] for _ in urls]
        self._thread = threading.Thread(target=self._run, args=(urls, self._times, self._stop), daemon=True)
        began = time.monotonic()
        self._thread.start()
        while min(map(len, self._times)) < SETTLED:
            if not self._thread.is_alive() or time.monotonic() - began > OPEN_SEC:
                return {"error": self._failure or f"not every camera within {OPEN_SEC:g} s"}
            time.sleep(0.02)
        return {"opened": time.monotonic() - began}

    def _close(self) -> dict[str, Any]:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SEC)
        return {"closed": self._thread is None or not self._thread.is_alive()}

    def _run(self, urls: list[str], times: list[list[float]], stop: threading.Event) -> None:
        try:
            self._side.run(urls, lambda camera: times[camera].append(time.monotonic()), stop)
        except Exception as error:
            traceback.print_exc()
            self._failure = f"{type(error).__name__}: {error}"


def confine() -> None:
    """Refuse what Python code of this process wants to send anywhere but to this machine."""
    # OpenVINO reports home when it is imported, unless this cannot be.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host: Any = arguments[0]
        elif event in ("socket.connect", "socket.sendto"):
            host = arguments[1][0] if isinstance(arguments[1], tuple) else ""
        else:
            return
        if str(host) not in LOOPBACK:
            print(f"refused: {event} {host}", file=sys.stderr)
            raise PermissionError(f"{event}: a bench talks to this machine alone")

    sys.addaudithook(refuse)


def serve(load: Callable[[], Side]) -> None:
    """Load a side and answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    confine()
    side = load()
    print(json.dumps({"ready": side.about}), file=answers)
    served = Served(side)
    for line in sys.stdin:
        print(json.dumps(served.answer(json.loads(line))), file=answers)
    # A thread that hangs in a library would keep the process for ever.
    os._exit(0)
