"""When the packets of a stream arrived: a picture that a decoder held back is as old as its packet."""

from collections import OrderedDict

Moment = tuple[float, float]
"""Seconds since 1970 and on the monotonic clock."""

_MOST = 64
"""Packets whose pictures may still be in the decoder."""
_STEP_SEC = 0.001


class Arrivals:
    """Told each packet that arrives, asked about each picture that comes out."""

    def __init__(self) -> None:
        self._moments: OrderedDict[int, Moment] = OrderedDict()
        self._newest = 0.0

    def note(self, pts: int | None, moment: Moment) -> None:
        """The packet with that time stamp has arrived."""
        if pts is None:
            return
        self._moments[pts] = moment
        self._moments.move_to_end(pts)
        if len(self._moments) > _MOST:
            self._moments.popitem(last=False)

    def of(self, pts: int | None, now: Moment) -> Moment:
        """When the picture with that time stamp arrived; `now` where that cannot be told.

        Always later than the picture before, whose packet may have come after this one's.
        """
        wall, monotonic = now if pts is None else self._moments.pop(pts, now)
        later = max(0.0, self._newest + _STEP_SEC - monotonic)
        self._newest = monotonic + later
        return wall + later, self._newest
