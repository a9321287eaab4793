"""Ends a blocked FFmpeg call of PyAV at once.

PyAV gives FFmpeg an interrupt callback that compares `time.monotonic()` with the call's time-out,
in the thread that made the call, and offers no other way to end one. The clock that it looks at
is a name of its module; ours runs ahead for a thread whose cutoff is cut, so that FFmpeg leaves at
its next look (every 100 ms), while connecting, reading and probing alike.
"""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import av.container.core

from siwatsystem.streams.cutoff import Cutoff

_FAR_SEC = 1e9


class _Clock:
    """Stands in for the module `time` inside `av.container.core`."""

    def __init__(self) -> None:
        self.cutoffs: dict[int, Cutoff] = {}
        self._ahead = 0.0

    def monotonic(self) -> float:
        now = time.monotonic()
        cutoff = self.cutoffs.get(threading.get_ident())
        if cutoff is None or not cutoff.check(now):
            return now
        # Further ahead at each look: the start of a call is read from this clock, too.
        self._ahead += _FAR_SEC
        return now + self._ahead

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


_clock = _Clock()


@contextmanager
def interruptible(cutoff: Cutoff) -> Generator[None]:
    """While in the block, FFmpeg calls of this thread end when `cutoff` is cut.

    Only containers opened with a time-out look at the clock.
    """
    av.container.core.time = _clock  # pyright: ignore[reportAttributeAccessIssue]
    identity = threading.get_ident()
    _clock.cutoffs[identity] = cutoff
    try:
        yield
    finally:
        _clock.cutoffs.pop(identity, None)
