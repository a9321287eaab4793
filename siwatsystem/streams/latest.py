"""The newest frame of a source: one slot, any number of readers, nobody waits for anybody."""

import threading

from siwatsystem.frames import Frame


class Latest:
    """Holds one frame. `put` never blocks on readers; a reader sees only whole frames."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._closed = False

    def get(self) -> Frame | None:
        """The newest frame, None before the first."""
        return self._frame

    def put(self, frame: Frame) -> None:
        """Take `frame` in place of the one before."""
        with self._changed:
            self._frame = frame
            self._changed.notify_all()

    def wait_newer(self, sequence: int, timeout: float) -> Frame | None:
        """The newest frame once its sequence exceeds `sequence`; None after `timeout` seconds, or closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_newer(sequence), timeout)
            return self._frame if self._is_newer(sequence) else None

    def close(self) -> None:
        """Nobody waits any more; the last frame stays readable."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_newer(self, sequence: int) -> bool:
        return self._frame is not None and self._frame.sequence > sequence
