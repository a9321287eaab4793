"""Which packets of a stream are decoded. Pure: times come as arguments, in seconds.

All of them, or keyframes alone: a keyframe needs no other picture, and where keyframes come as often
as frames are analysed, the rest is decoded for nobody. `auto` measures how often they come and
changes at run time, so that a camera whose keyframes become rare is decoded in full before
anybody misses a frame.
"""

from collections import deque
from enum import Enum, auto
from typing import Literal

Mode = Literal["auto", "all", "keyframes"]
InForce = Literal["all", "keyframes"]

_TOLERANCE = 1.05
"""A keyframe may come that much later than a frame is due."""
_NEEDED = 3
"""Intervals in a row that have to be short enough before keyframes alone are decoded. Doubled each time
that this soon turned out to be wrong."""
_MOST_NEEDED = 48
_THINNED = 0.5
"""Keyframes closer to each other than this part of the interval are more than are needed. Those that are
taken lie up to half their distance off the grid of the moments at which a frame is needed, to either side.
Whoever analyses them has a grid of its own, which misses none while they stay within half an interval."""
_JITTER_SEC = 0.5
"""Packets arrive that much later than they were made, and half of the longest interval, now and then."""
_WINDOW = 16
"""Intervals over which arrivals are watched; the more there are, the less jitter matters."""


class Step(Enum):
    """What is to be done with a packet."""

    FEED = auto()
    """Decode it, after those before it."""
    ALONE = auto()
    """Decode this keyframe by itself, and show it at once."""
    SKIP = auto()
    """Do not decode it."""
    CATCH_UP = auto()
    """Decode the newest keyframe and all that came since, up to this packet; FEED follows."""


class DecodePolicy:
    """Asked about each packet of one stream, in the order in which they came.

    `interval_sec`: how often a frame is needed. `singles`: each picture is known to be one of its own, so
    keyframes alone are decoded from the start, and nothing is ever to be gone back to.
    """

    def __init__(self, mode: Mode, interval_sec: float, *, singles: bool = False) -> None:
        self.mode = mode
        self._singles = singles and mode == "auto"
        self.in_force: InForce = "keyframes" if mode == "keyframes" or self._singles else "all"
        self.keyframe_sec: float | None = None
        """From the last but one keyframe to the last; None before there were two."""
        self._interval = interval_sec
        self._limit = interval_sec * _TOLERANCE
        self._slack = self._limit / 2 + _JITTER_SEC
        self._needed = _NEEDED
        self._in_a_row = 0
        """Keyframes since they alone are decoded."""
        self._short = 0
        """Intervals in a row that were short enough."""
        self._whole = 0
        """Keyframes since then that were seen to be pictures of their own."""
        self._arrivals: deque[float] = deque(maxlen=_WINDOW + 1)
        self._key_media: float | None = None
        self._due = 0.0

    def packet(self, key: bool, at: float, media: float | None) -> Step:
        """What to do with a packet that arrived `at` (monotonic clock); `media` is its own time stamp."""
        fits = key and self._measure(at, media)
        if self.mode == "all":
            return Step.FEED
        if self.mode == "keyframes":
            return Step.ALONE if key else Step.SKIP
        if self._singles:
            return Step.SKIP if fits and not self._is_due(at) else Step.ALONE
        if self.in_force == "all":
            return self._among_all(key, at)
        if key and fits:
            self._in_a_row += 1
            return Step.ALONE if self._is_due(at) else Step.SKIP
        if not key and not self._is_overdue(at, media):
            return Step.SKIP
        self._back_to_all()
        return Step.CATCH_UP

    def whole_keyframe(self) -> None:
        """A packet that is called a keyframe gave a picture that needs no other one."""
        self._whole += 1

    def broken_keyframe(self) -> None:
        """A keyframe decoded by itself gave no whole picture: what is called one is none here."""
        if self.mode == "auto" and self.in_force == "keyframes":
            self._back_to_all()

    def _among_all(self, key: bool, at: float) -> Step:
        # The picture of the newest keyframe may not have come out of the decoder yet.
        sure = self._short >= self._needed and self._whole >= self._short - 1
        if not key or not sure:
            return Step.FEED
        self.in_force = "keyframes"
        self._due = at + self._interval
        return Step.ALONE

    def _back_to_all(self) -> None:
        self.in_force = "all"
        lasted = self._in_a_row >= _MOST_NEEDED
        self._needed = _NEEDED if lasted else min(2 * self._needed, _MOST_NEEDED)
        self._in_a_row = self._short = self._whole = 0

    def _measure(self, at: float, media: float | None) -> bool:
        """Note a keyframe. Returns whether it came soon enough after the one before."""
        arrived = at - self._arrivals[-1] if self._arrivals else None
        self._arrivals.append(at)
        by_media = None if media is None or self._key_media is None else media - self._key_media
        self._key_media = media
        if arrived is None:
            return False
        span, count = at - self._arrivals[0], len(self._arrivals) - 1
        # A camera's clock may stand still or go slowly; that of the arrivals does not.
        fits = span <= count * self._limit + self._slack
        if by_media is not None and by_media > 0:
            self.keyframe_sec = by_media
            fits = fits and by_media <= self._limit
        else:
            self.keyframe_sec = arrived
        if fits:
            self._short += 1
        else:
            self._short = self._whole = 0
            self._arrivals.clear()
            self._arrivals.append(at)
        return fits

    def _is_due(self, at: float) -> bool:
        """Whether this keyframe is the nearest to the moment at which a frame is needed."""
        # The mean, which jitter does not move: a distance near the bound is not to cross it all the time.
        apart = (self._arrivals[-1] - self._arrivals[0]) / (len(self._arrivals) - 1)
        if apart > self._interval * _THINNED:
            self._due = at + self._interval
            return True
        if at < self._due - apart / 2:
            return False
        # On a grid, so that the mean rate is kept; after a pause on a new one.
        self._due = self._due + self._interval if at - self._due < self._interval else at + self._interval
        return True

    def _is_overdue(self, at: float, media: float | None) -> bool:
        arrived = at - self._arrivals[-1]
        if media is None or self._key_media is None:
            return arrived > self._limit + self._slack
        return media - self._key_media > self._limit or arrived > 2 * (self._limit + self._slack)
