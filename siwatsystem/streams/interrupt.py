"""Ends a blocked FFmpeg call of PyAV at once.

PyAV gives FFmpeg an interrupt callback that compares `time.monotonic()` with the call's time-out,
in the thread that made the call, and offers no other way to end one. The clock that it looks at
is a name of its module; ours runs ahead for a thread whose cutoff is cut, so that FFmpeg leaves at
its next look (every 100 ms), while connecting, reading and probing alike.

FFmpeg looks several times for each packet of the network, which is a thousand times a second and
camera: while nothing is cut the clock is the real one itself.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import av.container.core

from siwatsystem.streams.cutoff import Cutoff

_FAR_SEC = 1e9


class _Clock:
    """Stands in for the module `time` inside `av.container.core`."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic
        self._lock = threading.Lock()
        self._cutoffs: dict[int, Cutoff] = {}
        self._leaves: dict[int, Callable[[], bool]] = {}
        self._ahead = 0.0

    def begin(self, cutoff: Cutoff, leaves: Callable[[], bool] | None) -> None:
        """From now on this thread's calls end when `cutoff` is cut and `look` was called then."""
        with self._lock:
            self._cutoffs[threading.get_ident()] = cutoff
            if leaves is not None:
                self._leaves[threading.get_ident()] = leaves
        if leaves is not None:
            self.look()

    def end(self) -> None:
        """This thread's calls end no more."""
        with self._lock:
            cutoff = self._cutoffs.pop(threading.get_ident())
            leaves = self._leaves.pop(threading.get_ident(), None)
        if cutoff.reason is not None or leaves is not None:
            self.look()

    def look(self) -> None:
        """Some cutoff was cut, or somebody is to be asked, or that is over."""
        with self._lock:
            cut = self._leaves or any(cutoff.reason is not None for cutoff in self._cutoffs.values())
            self.monotonic = self._ahead_where_cut if cut else time.monotonic

    def _ahead_where_cut(self) -> float:
        now = time.monotonic()
        cutoff = self._cutoffs.get(threading.get_ident())
        leaves = self._leaves.get(threading.get_ident())
        if (cutoff is None or cutoff.reason is None) and (leaves is None or not leaves()):
            return now
        # Further ahead at each look: the start of a call is read from this clock, too.
        self._ahead += _FAR_SEC
        return now + self._ahead

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


_clock = _Clock()


@contextmanager
def interruptible(cutoff: Cutoff, leaves: Callable[[], bool] | None = None) -> Generator[None]:
    """While in the block, FFmpeg calls of this thread end when `cutoff` is cut, or `leaves`, asked whenever
    FFmpeg is about to wait, read or write, says so.

    Only containers opened with a time-out look at the clock. Somebody has to `check` the cutoff for its
    deadline to be kept: the pool's watchdog does.
    """
    av.container.core.time = _clock  # pyright: ignore[reportAttributeAccessIssue]
    _clock.begin(cutoff, leaves)
    detach = cutoff.attach(_clock.look)
    try:
        yield
    finally:
        detach()
        _clock.end()
