"""What a fake worker reads cameras with: MJPEG and snapshots over HTTP."""

import contextlib
import threading
import time
import urllib.request
from collections import deque
from typing import Any


class Camera:
    """Reads one address in a thread, and keeps the newest picture; older ones for who is wrong on purpose."""

    def __init__(self, url: str, interval_ms: int | None) -> None:
        self.users = 0
        self.frames: deque[tuple[float, bytes]] = deque(maxlen=4)
        self._url, self._interval = url, interval_ms
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-camera", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait((self._interval or 100) / 1000):
            with (
                contextlib.suppress(OSError, ValueError),
                urllib.request.urlopen(self._url, timeout=5) as answer,
            ):
                if self._interval is None:
                    self._video(answer)
                else:
                    self.frames.append((time.time(), answer.read()))

    def _video(self, answer: Any) -> None:
        length = 0
        while not self._stop.is_set():
            line = answer.readline()
            if not line:
                return
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif line == b"\r\n" and length:
                self.frames.append((time.time(), answer.read(length)))
                length = 0
