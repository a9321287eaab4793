"""Which frames of a clip are looked at: so many a second by their time stamps, or every N-th. Pure."""

import math

_EPSILON = 1e-6


class Thinning:
    """Asked about each frame in turn. With neither `fps` nor `every` it takes all."""

    def __init__(self, fps: float | None = None, every: int | None = None) -> None:
        self._fps = fps
        self._every = every
        self._due = -math.inf

    def takes(self, at: float, index: int) -> bool:
        """Whether the frame `index` (from 0) at `at` seconds is one of them.

        Of each 1/fps of a second, counted from the start, it is the first frame there is.
        """
        if self._every is not None and index % self._every:
            return False
        if self._fps is None:
            return True
        if at < self._due - _EPSILON:
            return False
        self._due = (math.floor(at * self._fps + _EPSILON) + 1) / self._fps
        return True
