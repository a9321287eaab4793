"""What follows detections from frame to frame, one per source and node."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from siwatsystem.detections import Detection, Xyxy
from siwatsystem.pipeline.association import contained, overlaps
from siwatsystem.pipeline.matching import match
from siwatsystem.pipeline.motion import Motion
from siwatsystem.pipeline.tracking import Tracking
from siwatsystem.pipeline.tracklets import Tracklet

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

    def copy(self) -> "Tracker":
        """Another one that has followed the same so far; neither changes the other."""
        ...

    def alive(self) -> frozenset[int]:
        """Tracks that may still be continued: seen lately, or not seen for less than `track_buffer`
        (where frames are further apart than that, for one frame)."""
        ...


DUPLICATE = 0.3
"""Overlap (IoU) with a box of its class, on the same frame, that is not believed to be another object: two
cars come into sight apart, and a second box on one that is followed is nearly always a leftover of it."""
DUPLICATE_OF_ANY = 0.85
"""The same where classes differ."""
HALF = 0.7
"""Share of a box inside another of its class above which it takes longer to be believed."""
HALF_SIGHTINGS = 2
"""How many more sightings that takes."""
SURE = 0.85
"""Confidence from which a box is believed at its first sighting."""
UNCONFIRMED_SEC = 0.2
"""How long a track that is not believed yet is kept unseen."""
FRAMES_MISSED = 1
"""Frames that a track outlasts unseen, however far apart they are,"""
BUFFERS_AT_MOST = 4.0
"""but not for more of its time than this."""
TRACKS_AT_MOST = 300


def make_tracker(tracking: Tracking) -> Tracker:
    """The tracker that `tracking` asks for, with nothing followed yet."""
    return BoxTracker(tracking)


class BoxTracker:
    """ByteTrack's two rounds (Zhang et al. 2022) and BoT-SORT's running mean of looks (Aharon et al.
    2022), where boxes are matched by how likely the step is in the time that really passed."""

    def __init__(self, tracking: Tracking) -> None:
        self._config = tracking.config
        self._by_looks = tracking.asks_for_appearance
        self._tracks: list[Tracklet] = []
        self._number = 0
        self._frame = 0
        self._at: float | None = None
        """The time given with the frame before."""
        self._clock = 0.0
        """Seconds that passed so far; never falls."""
        self._edge: Xyxy = (0.0, 0.0, 1.0, 1.0)
        """The picture's, as far as boxes reached yet: detectors cut their boxes there."""

    def update(
        self, detections: Sequence[Detection], at: float, encode: Encode | None = None
    ) -> list[Sighting | None]:
        """See `Tracker`. Boxes that are not finite, or too unsure, belong to no track."""
        self._advance(at)
        config = self._config
        # The most confident first, so that the order they come in does not matter.
        order = sorted(
            (i for i, box in enumerate(detections) if _sound(box)),
            key=lambda i: (-detections[i].confidence, detections[i].xyxy, detections[i].class_name),
        )
        for i in order:
            self._edge = _around(self._edge, detections[i].xyxy)
        sure = [i for i in order if detections[i].confidence >= config.track_high_thresh]
        unsure = [i for i in order[len(sure) :] if detections[i].confidence >= config.track_low_thresh]
        unseen = [track for track in self._tracks if track.frame < self._frame]
        lately = [track for track in unseen if track.frame == self._frame - 1]
        looked_at = encode if self._by_looks else None
        sightings: list[Sighting | None] = [None] * len(detections)
        for indexes, tracks, looks in ((sure, unseen, looked_at), (unsure, lately, None)):
            boxes = [detections[i] for i in indexes]
            free = [track for track in tracks if track.frame < self._frame]
            for k, track in match(boxes, free, config, self._edge, self._clock, looks):
                track.see(boxes[k], self._frame, self._clock, self._edge)
                sightings[indexes[k]] = self._sighting(track)
        for i in sure:
            if sightings[i] is None and detections[i].confidence >= config.new_track_thresh:
                sightings[i] = self._begin(detections[i])
        del self._tracks[:-TRACKS_AT_MOST]
        return sightings

    def copy(self) -> "BoxTracker":
        """See `Tracker`."""
        twin = copy.copy(self)
        twin._tracks = [track.copy() for track in self._tracks]
        return twin

    def alive(self) -> frozenset[int]:
        """See `Tracker`."""
        return frozenset(track.number for track in self._tracks)

    def _advance(self, at: float) -> None:
        """Go on to the frame captured at `at`; does nothing where it is the frame under way."""
        if self._at is not None and at == self._at:
            return
        passed = 0.0 if self._at is None else at - self._at
        passed = passed if math.isfinite(passed) and passed > 0 else 0.0
        self._at = at
        self._frame += 1
        self._clock += passed
        self._tracks = [track for track in self._tracks if self._lasts(track)]
        for track in self._tracks:
            track.motion.predict(passed)

    def _lasts(self, track: Tracklet) -> bool:
        kept = (
            self._config.track_buffer if track.confirmed else min(UNCONFIRMED_SEC, self._config.track_buffer)
        )
        age, missed = self._clock - track.at, self._frame - 1 - track.frame
        return age <= kept or (missed <= FRAMES_MISSED and age <= BUFFERS_AT_MOST * self._config.track_buffer)

    def _begin(self, box: Detection) -> Sighting | None:
        """A new track, unless something that was seen on this frame already is what the box shows."""
        others = [track.box for track in self._tracks if track.frame == self._frame]
        # On the first frame nothing can have been seen before, and a picture may stand alone.
        plain = self._frame == 1 or box.confidence >= SURE
        needed = 1 if plain else self._config.min_hits
        if others:
            seen, placed = np.array([box.xyxy]), np.array([other.xyxy for other in others])
            overlap, inside = overlaps(seen, placed)[0], contained(seen, placed)[0]
            same = np.array([other.class_name == box.class_name for other in others])
            if (overlap >= np.where(same, DUPLICATE, DUPLICATE_OF_ANY)).any():
                return None
            needed += HALF_SIGHTINGS if (same & (inside >= HALF)).any() else 0
        self._number += 1
        track = Tracklet(self._number, Motion(box.xyxy), self._frame, self._clock, box, needed)
        track.vote(box)
        self._tracks.append(track)
        return self._sighting(track)

    def _sighting(self, track: Tracklet) -> Sighting:
        track.confirmed = track.confirmed or track.sightings >= track.needed
        return Sighting(track.number, track.confirmed)


def _sound(box: Detection) -> bool:
    return all(map(math.isfinite, box.xyxy)) and math.isfinite(box.confidence)


def _around(edge: Xyxy, box: Xyxy) -> Xyxy:
    return min(edge[0], box[0]), min(edge[1], box[1]), max(edge[2], box[2]), max(edge[3], box[3])
