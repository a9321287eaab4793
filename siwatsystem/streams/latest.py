"""The newest frame of a source: one slot, any number of readers, nobody waits for anybody."""

import threading

from siwatsystem.frames import Frame


class Latest:
    """Holds one frame. `put` never blocks on readers; a reader sees only whole frames."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None

    @property
    def frame(self) -> Frame | None:
        """The newest frame, None before the first."""
        return self._frame

    def put(self, frame: Frame) -> bool:
        """Take `frame` unless a newer one is there already. Returns whether it was taken."""
        with self._changed:
            if self._frame is not None and frame.sequence <= self._frame.sequence:
                return False
            self._frame = frame
            self._changed.notify_all()
            return True

    def wait_newer(self, sequence: int, timeout: float) -> Frame | None:
        """The newest frame once its sequence exceeds `sequence`; None after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_newer(sequence), timeout)
            return self._frame if self._is_newer(sequence) else None

    def _is_newer(self, sequence: int) -> bool:
        return self._frame is not None and self._frame.sequence > sequence
