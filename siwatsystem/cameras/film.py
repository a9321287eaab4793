"""What a served camera shows: a webcam, a file over and over, or a drawn test pattern."""

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from siwatsystem.config import Settings, StreamSettings
from siwatsystem.errors import StreamError, StreamUnreachable
from siwatsystem.frames import Frame, Image
from siwatsystem.streams.latest import Latest
from siwatsystem.streams.pool import Source, SourcePool
from siwatsystem.streams.spec import SourceSpec

_FIRST_SEC = 20.0
_COLOURS = (
    (255, 255, 255),
    (0, 255, 255),
    (255, 255, 0),
    (0, 255, 0),
    (255, 0, 255),
    (0, 0, 255),
    (255, 0, 0),
)
"""Blue-green-red, as of a television's bars."""


class Film(Protocol):
    """Frames as they come; from any thread."""

    fps: float
    """How many come in a second, about."""

    def wait_newer(self, sequence: int, timeout: float) -> Frame | None:
        """The newest frame once its number is above `sequence`; None after `timeout` seconds."""
        ...

    @property
    def latest(self) -> Frame | None: ...

    @property
    def online(self) -> bool:
        """Whether frames come."""
        ...

    def close(self) -> None: ...


class Pattern:
    """Bars, a running square, clock and frame number: what a viewer shows late, or twice, is seen at once."""

    online = True

    def __init__(self, width: int = 1280, height: int = 720, fps: float = 15.0) -> None:
        self.fps = fps
        self._latest = Latest()
        self._ended = threading.Event()
        self._bars = self._draw_bars(width, height)
        self._show(1)
        self._thread = threading.Thread(target=self._run, name="pattern", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> Frame | None:
        return self._latest.get()

    def wait_newer(self, sequence: int, timeout: float) -> Frame | None:
        return self._latest.wait_newer(sequence, timeout)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._latest.close()

    def _run(self) -> None:
        number, due = 2, time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            self._show(number)
            number += 1
            due = max(due + 1 / self.fps, time.monotonic() - 1.0)

    def _show(self, number: int) -> None:
        self._latest.put(
            Frame(self._drawn(number), captured_at=time.time(), monotonic=time.monotonic(), sequence=number)
        )

    def _drawn(self, number: int) -> Image:
        picture = self._bars.copy()
        height, width = picture.shape[:2]
        side = height // 8
        left = int((number / self.fps / 4 % 1) * (width - side))
        cv2.rectangle(picture, (left, height - 2 * side), (left + side, height - side), (40, 40, 220), -1)
        words = f"{datetime.now():%H:%M:%S.%f}"[:-3] + f"  {number}"
        cv2.putText(
            picture, words, (width // 20, height // 2), cv2.FONT_HERSHEY_SIMPLEX, height / 360, (0, 0, 0), 6
        )
        cv2.putText(
            picture, words, (width // 20, height // 2), cv2.FONT_HERSHEY_SIMPLEX, height / 360, (255,) * 3, 2
        )
        return picture

    @staticmethod
    def _draw_bars(width: int, height: int) -> Image:
        columns = np.arange(width) * len(_COLOURS) // width
        return np.broadcast_to(np.array(_COLOURS, np.uint8)[columns], (height, width, 3)) * np.uint8(1)


class Played:
    """A webcam or a file, read as the worker reads it: opened again when it is lost."""

    def __init__(self, pool: SourcePool, source: Source) -> None:
        self._pool = pool
        self._source = source
        self.fps = self._measured()

    @property
    def latest(self) -> Frame | None:
        return self._source.latest

    @property
    def online(self) -> bool:
        return self._source.online

    def wait_newer(self, sequence: int, timeout: float) -> Frame | None:
        return self._source.wait_newer(sequence, timeout)

    def close(self) -> None:
        self._pool.close()

    def _measured(self) -> float:
        """Frames a second, over the first dozen or two seconds."""
        first = self._source.latest
        assert first is not None
        until, newest = time.monotonic() + 2.0, first
        while newest.sequence < first.sequence + 12 and time.monotonic() < until:
            newest = self._source.wait_newer(newest.sequence, 0.5) or newest
        span = newest.monotonic - first.monotonic
        return round((newest.sequence - first.sequence) / span, 2) if span > 0 else 1.0


def film_of(source: str) -> Film:
    """What `source` names: `pattern`, a webcam's index, or a file. Raises StreamError without a frame."""
    if source == "pattern":
        return Pattern()
    if source.isdecimal():
        return _played(SourceSpec(source), StreamSettings(schemes=("webcam",)))
    path = Path(source).resolve()
    if not path.is_file():
        raise StreamUnreachable(f"{source}: there is no such file; else `pattern` or the index of a webcam")
    return _played(SourceSpec(path.as_uri()), StreamSettings(schemes=("file",), file_root=path.parent))


def _played(spec: SourceSpec, streams: StreamSettings) -> Film:
    failures: list[StreamError] = []
    settings = Settings(streams=streams, target_fps=1000, max_retries=-1)
    pool = SourcePool(settings, lambda source: failures.append(source.error) if source.error else None)
    source = pool.acquire(spec)
    until = time.monotonic() + _FIRST_SEC
    while source.latest is None:
        if failures or time.monotonic() > until:
            pool.close()
            raise failures[0] if failures else StreamUnreachable(f"no picture came within {_FIRST_SEC:.0f} s")
        source.wait_newer(0, 0.2)
    return Played(pool, source)
