"""One attempt to open a pipeline: since when it has been at what may hang, and how it is given up."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Opening:
    """Every member may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None
        self._limit_sec = 0.0
        self._give_back: Callable[[], object] | None = None

    @contextmanager
    def within(self, limit_sec: float, give_back: Callable[[], object]) -> Generator[None]:
        """What is done in it hangs where it takes longer than `limit_sec`. `give_back` is called once: at
        its end, or when it is given up before."""
        with self._lock:
            self._began, self._limit_sec, self._give_back = time.monotonic(), limit_sec, give_back
        try:
            yield
        finally:
            self.give_up()

    def look(self, now: float) -> str | None:
        """Why it should be given up at that time (`time.monotonic()`)."""
        with self._lock:
            if self._began is None or now - self._began <= self._limit_sec:
                return None
            return f"loading it takes longer than {self._limit_sec:g} s"

    def give_up(self) -> None:
        """Give back what it holds: it is left to itself from now on."""
        with self._lock:
            self._began = None
            give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
