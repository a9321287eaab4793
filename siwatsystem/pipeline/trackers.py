"""What follows detections from frame to frame, one per source and node."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from siwatsystem.detections import Detection

Features = NDArray[np.float32]
"""n × d, a row of unit length per box: how it looks."""
Encode = Callable[[Sequence[Detection]], Features]
"""Looks of boxes on the picture under way; only called for boxes that need it."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Which track a detection belongs to. `track` counts from 1 and is never used again; a track is
    `confirmed` once it was seen often enough to be believed, and then stays so."""

    track: int
    confirmed: bool


class Tracker(Protocol):
    """Tells which boxes show the same object. Used by one frame at a time."""

    def update(
        self, detections: Sequence[Detection], at: float, encode: Encode | None = None
    ) -> list[Sighting | None]:
        """A sighting per detection, in order; None where a box belongs to no track.

        `at` is when the frame was captured (seconds, never falling, any distance apart). Called
        again with the same `at`, further boxes of the same frame are matched to the tracks that
        were not seen on it yet.
        """
        ...

    def alive(self) -> frozenset[int]:
        """Tracks that may still be continued: seen lately, or not seen for less than `track_buffer`."""
        ...
