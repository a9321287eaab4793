"""A clip in real time: the picture that a camera would show now, decoded when somebody asks."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2

SEEK_FROM_SEC = 2.0
"""Further ahead than this a seek costs less than decoding all between."""


class Player:
    """Plays `clip` for ever from the moment it is made. Any thread may ask."""

    def __init__(self, clip: Path) -> None:
        self._lock = threading.Lock()
        self._container = av.open(str(clip))
        self._stream = self._container.streams.video[0]
        self._stream.thread_count = 1
        length = self._container.duration
        if not length:
            raise ValueError(f"{clip}: its length is unknown")
        self.length_sec: float = length / av.time_base
        self._started = time.monotonic()
        self._at = 0.0
        self._frames: Iterator[Any] = self._container.decode(self._stream)
        self._frame = next(self._frames)

    @property
    def position_sec(self) -> float:
        """Seconds from the clip's start."""
        return (time.monotonic() - self._started) % self.length_sec

    def jpeg(self, quality: int = 90) -> bytes:
        """The present picture as JPEG."""
        with self._lock:
            self._advance(self.position_sec)
            image = self._frame.to_ndarray(format="bgr24")
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        return data.tobytes()

    def _advance(self, position: float) -> None:
        if position < self._at or position > self._at + SEEK_FROM_SEC:
            self._container.seek(int(position * av.time_base), backward=True)
            self._frames = self._container.decode(self._stream)
            self._at = -1.0
        step = 1 / float(self._stream.average_rate or 25)
        while self._at + step <= position:
            frame = next(self._frames, None)
            if frame is None:
                break
            self._frame, self._at = frame, frame.time
        self._at = min(self._at, position)
