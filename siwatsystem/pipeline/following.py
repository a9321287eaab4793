"""Follows the objects of one node for one subscription: tracks, zone, stability, clean ids.

Detections come in frame by frame with the time of their capture; what comes out says which object
each one is, and whether that object is of interest yet.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from siwatsystem.detections import Detection
from siwatsystem.pipeline.regions import area, holds_centre, same_name, shared
from siwatsystem.pipeline.shared_tracking import SharedTracking
from siwatsystem.pipeline.subjects import Subject
from siwatsystem.pipeline.trackers import Encode, Sighting, Tracker
from siwatsystem.pipeline.tracking import Tracking
from siwatsystem.pipeline.zones import in_pixels, stands_in

MakeTracker = Callable[[Tracking], Tracker]
LEAST_STEP_SEC = 0.001
"""Between two frames, whatever their times say: a clock that stands or goes back makes no frame of two."""


@dataclass(eq=False, slots=True)
class Track:
    """One box followed over frames."""

    subject: Subject = field(default_factory=Subject)
    whole: Optional["Track"] = None
    """What it was last seen to be a part of: a front of its car."""
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

    @property
    def object(self) -> "Track":
        """The track of the whole thing that it is a part of, or itself."""
        return self if self.whole is None else self.whole

    @property
    def ready(self) -> bool:
        return self.confirmed and self.stable


@dataclass(frozen=True, slots=True)
class Seen:
    """A node's detections on a frame, with the ids of the objects that they show, and their tracks."""

    boxes: tuple[Detection, ...]
    tracks: Mapping[Detection, Track] | None = None
    """None where the node does not track; a box without a track shows no object (yet)."""
    gated: bool = False
    """Whether only objects in the zone, stable, or known by an id are of interest."""

    def ready(self, box: Detection) -> bool:
        """Whether branches and actions may run on this box."""
        if self.tracks is None:
            return True
        track = self.tracks.get(box)
        return track is not None and (not self.gated or track.ready or track.object.ready)

    def why_not(self, box: Detection) -> str | None:
        """Why nothing is done about a box, in words; None where something is, or it is no object's."""
        if self.tracks is None or self.ready(box):
            return None
        track = self.tracks.get(box)
        if track is None:
            return None
        if not track.confirmed:
            return "seen too seldom as yet"
        return f"not stable yet, {track.streak} pictures in a row in the zone"

    @property
    def of_interest(self) -> tuple[Detection, ...]:
        """Boxes that are ready, and parts of these that are of no class which is."""
        ready = [box for box in self.boxes if self.ready(box)]
        return tuple(
            box
            for box in self.boxes
            if box in ready
            or (
                any(holds_centre(one, box) for one in ready)
                and not any(same_name(one.class_name, box.class_name) for one in ready)
            )
        )

    def subject_of(self, box: Detection) -> Subject | None:
        """What is remembered of the object that `box` shows; None where nothing follows it."""
        track = None if self.tracks is None else self.tracks.get(box)
        return None if track is None else track.object.subject


class Follower:
    """One per node and subscription; used by one frame at a time."""

    def __init__(
        self, tracking: Tracking, make_tracker: MakeTracker, shared: SharedTracking | None = None
    ) -> None:
        """`shared`: where the tracker that `make_tracker` gives takes its steps, with others' trackers."""
        self.tracking = tracking
        self._tracker = make_tracker(tracking)
        self._shared = shared
        self._tracks: dict[int, Track] = {}
        self._told = 0
        """The highest id that was told."""
        self._frame = 0
        self._updated = 0
        """The frame that the tracker was last told of."""
        self._at: float | None = None
        self._clock = 0.0
        """Seconds since the first frame, as far as the frames' times make sense."""
        self._began = 0.0
        """Of that clock, when ids began at 1."""
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
        self._advance(frame, at)
        zone = None if self.tracking.zone is None else in_pixels(self.tracking.zone, *size)
        sightings = self._update(boxes, at, encode)
        tracks: dict[Detection, Track] = {}
        for box, sighting in zip(boxes, sightings, strict=True):
            if sighting is None:
                continue
            track = self._tracks.setdefault(sighting.track, Track())
            track.confirmed = sighting.confirmed
            self._step(track, box, zone is None or stands_in(box, zone), frame)
            if box.confidence >= least:
                tracks[box] = track
        for box, track in tracks.items():
            _join(box, track, tracks)
        return self._told_of([box for box in boxes if box.confidence >= least], tracks)

    def ended(self, frame: int, at: float) -> list[Subject]:
        """Objects of which no track is alive any more; they are forgotten. Call it after each frame."""
        if not self._tracks:
            return []
        if self._updated != frame:
            self._advance(frame, at)
            self._update((), at)
        alive = self._tracker.alive()
        gone = [self._tracks.pop(number) for number in list(self._tracks) if number not in alive]
        for track in self._tracks.values():
            if track.whole is not None and track.whole not in self._tracks.values():
                whole, track.whole = track.whole, None
                track.subject = whole.subject
                track.tracker_id = whole.tracker_id if track.tracker_id is None else track.tracker_id
        left = {id(track.subject) for track in self._tracks.values()}
        return list({id(one.subject): one.subject for one in gone if id(one.subject) not in left}.values())

    def finish(self) -> list[Subject]:
        """Forget everything; returns the objects that were known."""
        subjects = {id(track.subject): track.subject for track in self._tracks.values()}
        self._tracks.clear()
        return list(subjects.values())

    def _update(
        self, boxes: Sequence[Detection], at: float, encode: Encode | None = None
    ) -> list[Sighting | None]:
        self._updated = self._frame
        if self._shared is None:
            return self._tracker.update(boxes, self._clock, encode)
        self._tracker, sightings = self._shared.step(self._tracker, boxes, self._clock, at, encode)
        return sightings

    def _told_of(self, boxes: Sequence[Detection], tracks: Mapping[Detection, Track]) -> Seen:
        """The boxes with the ids of their objects; an object that is told for the first time gets one."""
        told: list[Detection] = []
        known: dict[Detection, Track] = {}
        for box in boxes:
            track = tracks.get(box)
            if track is None:
                told.append(box)
                continue
            thing = track.object
            if thing.tracker_id is None and (thing.ready or track.ready):
                self._told += 1
                thing.tracker_id = self._told
            named = replace(box, tracker_id=thing.tracker_id)
            told.append(named)
            known[named] = track
        return Seen(tuple(told), known, self._gated)

    def _advance(self, frame: int, at: float) -> None:
        """Begin a frame, once: let the time pass that lies between it and the one before."""
        if frame == self._frame and self._at is not None:
            return
        passed = 0.0 if self._at is None else at - self._at
        self._clock += max(passed, LEAST_STEP_SEC)
        self._frame, self._at = frame, at
        self._start_anew()

    def _start_anew(self) -> None:
        """Ids begin at 1 again once `resetIntervalSec` is over and nothing is followed.

        Where something always is, after twice as long: what is there then keeps what is known of it
        and gets the lowest ids, so that no parked car is acted on twice.
        """
        age, interval = self._clock - self._began, self.tracking.reset_interval_sec
        if age < interval or (self._tracks and age < 2 * interval):
            return
        self._began, self._told = self._clock, 0
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


def untracked(boxes: tuple[Detection, ...]) -> Seen:
    """Boxes of a node that does not track: all of interest, nothing remembered of them."""
    return Seen(boxes)


def _join(box: Detection, track: Track, tracks: Mapping[Detection, Track]) -> None:
    """Say what `track`, seen as `box`, is a part of: the box of another class that holds it best.

    A car and the front that lies in it are one object: whichever of the two is the surer one on a
    frame, what was done for it was done for both. While its whole is not seen a part stays with it;
    seen apart from it, it is none any more.
    """
    wholes = [
        (shared(box, other), -area(other), candidate)
        for other, candidate in tracks.items()
        if candidate is not track
        and not same_name(other.class_name, box.class_name)
        and area(other) > area(box)
        and holds_centre(other, box)
    ]
    if not wholes:
        if track.whole is not None and track.whole in tracks.values():
            track.whole = None
        return
    whole = max(wholes, key=lambda one: one[:2])[2].object
    if whole is track or whole is track.whole:
        return
    if not whole.subject.known and track.whole is None and track.subject.known:
        # The part was seen and acted on before the whole was.
        whole.subject, track.subject = track.subject, Subject()
        whole.tracker_id, track.tracker_id = track.tracker_id, None
    track.whole = whole
