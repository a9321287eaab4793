"""The end of a capture, told from outside: ends its waits at once, those inside libraries too."""

import contextlib
import threading
from collections.abc import Callable, Iterator


class Stop:
    """Set once, by any thread. Whoever blocks in a library says how to get it out."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._abort: Callable[[], None] | None = None

    def set(self) -> None:
        """End it; does not block."""
        with self._lock:
            self._event.set()
            abort = self._abort
        if abort is not None:
            abort()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float) -> bool:
        """Sleep, at most until the end. Returns whether it has come."""
        return self._event.wait(timeout)

    @contextlib.contextmanager
    def aborting(self, abort: Callable[[], None]) -> Iterator[None]:
        """While inside, the end calls `abort` (quick, from any thread), at once where it has come."""
        with self._lock:
            self._abort = abort
            late = self._event.is_set()
        if late:
            abort()
        try:
            yield
        finally:
            with self._lock:
                self._abort = None
