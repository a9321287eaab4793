"""Follows the objects of one node for one subscription: tracks, zone, stability, clean ids.

Detections come in frame by frame with the time of their capture; what comes out says which object
each one is, and whether that object is of interest yet.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from siwatsystem.detections import Detection
from siwatsystem.pipeline.regions import Regions, holds_centre
from siwatsystem.pipeline.subjects import Subject
from siwatsystem.pipeline.trackers import Encode, Tracker
from siwatsystem.pipeline.tracking import Tracking
from siwatsystem.pipeline.zones import in_pixels, stands_in

MakeTracker = Callable[[Tracking], Tracker]


@dataclass(eq=False, slots=True)
class Track:
    """One box followed over frames."""

    subject: Subject = field(default_factory=Subject)
    """The object that it shows; a car and its front are one."""
    tracker_id: int | None = None
    """The id that is told; None until the track is confirmed and stable (in the zone, if there is one)."""
    confirmed: bool = False
    streak: int = 0
    """Consecutive analysed frames in the zone."""
    stable: bool = False
    """Whether the streak was long enough once."""
    frame: int = 0
    """Number of the analysed frame on which it was last seen."""
    place: tuple[float, float] | None = None
    """Bottom centre there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A node's detections on a frame, with their ids, and the tracks that they belong to."""

    boxes: tuple[Detection, ...]
    tracks: Mapping[Detection, Track]
    gated: bool
    """Whether only objects in the zone, stable, or known by an id are of interest."""

    def ready(self, box: Detection) -> bool:
        """Whether branches and actions may run on this box."""
        track = self.tracks.get(box)
        return not self.gated or (track is not None and track.stable and track.confirmed)

    @property
    def of_interest(self) -> tuple[Detection, ...]:
        """Boxes that are ready, and those that are parts of one."""
        ready = [box for box in self.boxes if self.ready(box)]
        if len(ready) == len(self.boxes):
            return self.boxes
        return tuple(
            box for box in self.boxes if box in ready or any(holds_centre(one, box) for one in ready)
        )

    def subject_of(self, main: Detection, regions: Regions) -> Subject | None:
        """What is remembered of the object that `main` shows.

        A car and the front that lies in it have tracks of their own and are one object: whichever
        of the two is the surer one on a frame, what was done for it was done for both.
        """
        parts = [box for box in regions.values() if holds_centre(main, box) or holds_centre(box, main)]
        found = [self.tracks[box] for box in [main, *parts] if box in self.tracks]
        if not found:
            return None
        subject = next((track.subject for track in found if track.subject.known), found[0].subject)
        for track in found:
            if not track.subject.known:
                track.subject = subject
        return subject


def untracked(boxes: tuple[Detection, ...]) -> Seen:
    """Boxes of a node that does not track: all of interest, nothing remembered of them."""
    return Seen(boxes, {}, gated=False)


class Follower:
    """One per node and subscription; used by one frame at a time."""

    def __init__(self, tracking: Tracking, make_tracker: MakeTracker) -> None:
        self.tracking = tracking
        self._tracker = make_tracker(tracking)
        self._tracks: dict[int, Track] = {}
        self._told = 0
        """The highest id that was told."""
        self._began: float | None = None
        self._gated = tracking.zone is not None or tracking.stability_threshold > 0 or tracking.acts_once

    def follow(
        self,
        boxes: Sequence[Detection],
        size: tuple[int, int],
        frame: int,
        at: float,
        least: float = 0.0,
        encode: Encode | None = None,
    ) -> Seen:
        """Follow `boxes` on a picture of `size` (width, height); boxes below the confidence `least`
        only keep their tracks alive.

        `frame` counts analysed frames, `at` is the capture's time in seconds. Called more than once
        for a frame, it takes up where the call before ended.
        """
        self._start_anew(at)
        zone = None if self.tracking.zone is None else in_pixels(self.tracking.zone, *size)
        seen: list[Detection] = []
        tracks: dict[Detection, Track] = {}
        for box, sighting in zip(boxes, self._tracker.update(boxes, at, encode), strict=True):
            if sighting is None:
                seen.extend([box] if box.confidence >= least else [])
                continue
            track = self._tracks.setdefault(sighting.track, Track())
            track.confirmed = sighting.confirmed
            self._step(track, box, zone is None or stands_in(box, zone), frame)
            if box.confidence >= least:
                if track.confirmed and track.stable and track.tracker_id is None:
                    self._told += 1
                    track.tracker_id = self._told
                known = replace(box, tracker_id=track.tracker_id)
                seen.append(known)
                tracks[known] = track
        return Seen(tuple(seen), tracks, self._gated)

    def ended(self, at: float) -> list[Subject]:
        """Objects of which no track is alive any more; they are forgotten. Call it after each frame."""
        if self._tracks:
            self._tracker.update([], at)
        alive = self._tracker.alive()
        gone = [number for number in self._tracks if number not in alive]
        subjects = [self._tracks.pop(number).subject for number in gone]
        left = {id(track.subject) for track in self._tracks.values()}
        return list({id(one): one for one in subjects if id(one) not in left}.values())

    def finish(self) -> list[Subject]:
        """Forget everything; returns the objects that were known."""
        subjects = {id(track.subject): track.subject for track in self._tracks.values()}
        self._tracks.clear()
        return list(subjects.values())

    def _start_anew(self, at: float) -> None:
        """Ids begin at 1 again once `resetIntervalSec` is over and nothing is followed.

        Where something always is, after twice as long: what is there then keeps what is known of it
        and gets the lowest ids, so that no parked car is acted on twice.
        """
        if self._began is None:
            self._began = at
        age, interval = at - self._began, self.tracking.reset_interval_sec
        if age < interval or (self._tracks and age < 2 * interval):
            return
        self._began, self._told = at, 0
        for track in sorted(self._tracks.values(), key=lambda track: track.tracker_id or 0):
            if track.tracker_id is not None:
                self._told += 1
                track.tracker_id = self._told

    def _step(self, track: Track, box: Detection, inside: bool, frame: int) -> None:
        """Count one analysed frame on which the track was seen."""
        place, before = box.bottom_centre, track.place
        consecutive = track.frame == frame - 1
        track.frame, track.place = frame, place
        if not inside:
            track.streak = 0
            return
        far = self.tracking.max_jump
        jumped = before is not None and consecutive and far is not None and math.dist(before, place) > far
        if not consecutive:
            track.streak = 0
        if not jumped:
            track.streak += 1
        track.stable = track.stable or track.streak >= max(1, self.tracking.stability_threshold)
