"""Asks a control server for its state, and an idle one in turn; notes what each answer took.

    python -m bench.control_client PORT IDLE_PORT FILE

A process of its own, so that nothing else delays its clock. Writes a line of JSON per answer to `FILE` until
its standard input ends: `at` and `took` in seconds (monotonic), `path`, `handled` in ms as the server says,
`bytes`. What was asked while the server was away has no line: its first answer after that has `away`, the
seconds since the connection was lost.
"""

import contextlib
import http.client
import json
import select
import sys
import time
from pathlib import Path
from typing import TextIO

from bench.control_server import HEADER

PATHS = ("/analysis/status", "/instances", "/requests", "/health", "/processes")
IDLE = "idle"
PAUSE_SEC = 0.02
AGAIN_SEC = 0.02
LONGEST_SEC = 30


class Asking:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_SEC)
        self._lost: float | None = None

    def ask(self, path: str, name: str) -> dict[str, float | str] | None:
        """What is noted of an answer; None where there was none."""
        began = time.monotonic()
        try:
            self._http.request("GET", f"/deepstream{path}")
            answer = self._http.getresponse()
            size = len(answer.read())
        except (OSError, http.client.HTTPException):
            self._http.close()
            self._lost = self._lost or began
            time.sleep(AGAIN_SEC)
            return None
        took = time.monotonic() - began
        if answer.status != 200:
            return None
        if self._lost is not None:
            away, self._lost = time.monotonic() - self._lost, None
            return {"at": began, "path": name, "away": round(away, 3)}
        handled = float((answer.getheader(HEADER) or "=nan").rpartition("=")[2])
        return {"at": began, "path": name, "took": took, "handled": handled, "bytes": size}

    def close(self) -> None:
        self._http.close()


def ended() -> bool:
    """Whether whoever started this process wants no more."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def watch(server: Asking, idle: Asking, out: TextIO) -> None:
    while True:
        for path in PATHS:
            for one in (server.ask(path, path), idle.ask("/health", IDLE)):
                if one is not None:
                    out.write(json.dumps(one) + "\n")
            time.sleep(PAUSE_SEC)
            if ended():
                return


def main() -> None:
    port, idle_port, path = sys.argv[1:]
    server, idle = Asking(int(port)), Asking(int(idle_port))
    with Path(path).open("w", encoding="utf-8") as out, contextlib.closing(server), contextlib.closing(idle):
        watch(server, idle, out)


if __name__ == "__main__":
    main()
