"""What ends one attempt at a camera from outside: a deadline, the watchdog, a release.

Libraries that read cameras block for as long as they like. Whatever blocks is attached here with
a function that ends it at once; `cut` calls them all. One cutoff belongs to one attempt, so that
a late cut never hits the attempt that came after.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Cutoff:
    """Used by the reader thread (`limit`, `attached`, `wait`) and by others (`cut`, `check`)."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it was cut, None while it was not."""
        self.cut_at: float | None = None
        """When (monotonic clock)."""
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._ends: dict[int, Callable[[], None]] = {}
        self._number = 0
        self._deadline: tuple[float, str] | None = None

    def cut(self, reason: str) -> None:
        """End whatever is attached, now and later; the first reason counts."""
        with self._lock:
            if self.reason is None:
                self.cut_at = time.monotonic()
                self.reason = reason
            ends = list(self._ends.values())
        self._event.set()
        for end in ends:
            end()

    def check(self, now: float) -> bool:
        """Whether it is cut, cutting it when its deadline has passed (`now`: the monotonic clock)."""
        deadline = self._deadline
        if self.reason is None and deadline is not None and now > deadline[0]:
            self.cut(deadline[1])
        return self.reason is not None

    @contextmanager
    def limit(self, seconds: float, reason: str) -> Generator[None]:
        """Cut with `reason` if the block takes longer than that."""
        self._deadline = (time.monotonic() + seconds, reason)
        try:
            yield
        finally:
            self._deadline = None

    def attach(self, end: Callable[[], None]) -> Callable[[], None]:
        """Have `end` called, from any thread, when cut. Returns what detaches it again."""
        with self._lock:
            self._number += 1
            number = self._number
            self._ends[number] = end
            gone = self.reason is not None
        if gone:
            end()

        def detach() -> None:
            with self._lock:
                self._ends.pop(number, None)

        return detach

    def wait(self, seconds: float) -> bool:
        """Sleep that long or until cut. Returns whether it is cut."""
        return self._event.wait(max(0.0, seconds))
