"""How a processor's cores are shared by the calls that are under way, of all models together.

A call that has all cores has its answer soonest. But cores that work on one picture wait for each
other for a quarter to a third of their time, so the more calls there are the fewer cores each has.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager

_STEP = 4


class Underway:
    """Counts calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def call(self) -> Generator[int]:
        """Count one call for as long as the block lasts; gives how many there are with it."""
        with self._lock:
            self._count += 1
            count = self._count
        try:
            yield count
        finally:
            with self._lock:
                self._count -= 1


def shares(cores: int) -> tuple[int, ...]:
    """Into how many equal shares the cores may be divided, least first: 1, 4, 16, … and each core alone."""
    found = [1]
    while found[-1] * _STEP < cores:
        found.append(found[-1] * _STEP)
    return tuple(sorted({*found, cores}))


def share_for(calls: int, possible: tuple[int, ...]) -> int:
    """The least of `possible` that gives each of `calls` a share of its own, else the greatest."""
    return next((count for count in possible if count >= calls), possible[-1])
