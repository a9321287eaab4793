"""What a clip's run came to for each of its cars: was it acted on once, was its brand right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from bench.followed import Followed
from bench.identity import MIN_IOU, Box, Moment
from bench.traffic import Shown
from siwatsystem.detections import iou

LEAST_SEEN = 3
"""Analysed frames on which a car must be seen before anything is asked of it."""

Frame = Mapping[int, Shown]


@dataclass(frozen=True)
class Acts:
    """Cars that were seen often enough: `once`, `never` and `again` say how often the action ran on
    each; `named` is of those whose brand could be seen often enough, `right` and `unnamed` (no vote
    settled) of these. `astray` counts actions on no car at all."""

    cars: int = 0
    once: int = 0
    never: int = 0
    again: int = 0
    astray: int = 0
    named: int = 0
    right: int = 0
    unnamed: int = 0

    def __add__(self, other: "Acts") -> "Acts":
        return Acts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def once_rate(self) -> float:
        return self.once / max(1, self.cars)

    @property
    def right_rate(self) -> float:
        return self.right / max(1, self.named)


def moments_of(frames: Sequence[Frame], followed: Followed) -> list[Moment]:
    """The clip as the identity measure wants it."""
    return [
        Moment(
            {car: shown.box for car, shown in frame.items() if shown.counts},
            {car: shown.box for car, shown in frame.items() if not shown.counts},
            tracks,
        )
        for frame, tracks in zip(frames, followed.tracks, strict=True)
    ]


def acts_of(followed: Followed, frames: Sequence[Frame], brands: Sequence[str]) -> Acts:
    """Counts over a clip's cars; `brands` are theirs by number."""
    seen = Counter(car for frame in frames for car, shown in frame.items() if shown.counts)
    nameable = Counter(car for frame in frames for car, shown in frame.items() if shown.nameable)
    fired = Counter(acted_on(followed, frames, index, track) for index, track in followed.fired)
    told: dict[int | None, str] = {}
    for frame, named in zip(frames, followed.brands, strict=True):
        # A box on a car that is hidden is another one's, which passes in front of it.
        told |= {
            car: brand
            for box, brand in named.items()
            if (car := car_at(frame, box)) is not None and frame[car].counts
        }
    asked = [car for car, times in seen.items() if times >= LEAST_SEEN]
    readable = [car for car, times in nameable.items() if times >= LEAST_SEEN]
    return Acts(
        cars=len(asked),
        once=sum(fired[car] == 1 for car in asked),
        never=sum(fired[car] == 0 for car in asked),
        again=sum(fired[car] > 1 for car in asked),
        astray=fired[None],
        named=len(readable),
        right=sum(told.get(car) == brands[car] for car in readable),
        unnamed=sum(car not in told for car in readable),
    )


def acted_on(followed: Followed, frames: Sequence[Frame], index: int, track: int) -> int | None:
    """The car that a track was on when it was acted on; where its box fits none just then (a car half
    behind another), the one that it is on on the nearest frame. None: on no car, ever."""
    when = sorted(
        (k for k, boxes in enumerate(followed.tracks) if track in boxes), key=lambda k: abs(k - index)
    )
    cars = (car_at(frames[k], followed.tracks[k][track]) for k in when)
    return next((car for car in cars if car is not None), None)


def car_at(frame: Frame, box: Box) -> int | None:
    """The car that a box is on; None where it is on none."""
    best = max(frame, key=lambda car: iou(frame[car].box, box), default=None)
    return best if best is not None and iou(frame[best].box, box) >= MIN_IOU else None


def hidden_of(frames: Sequence[Frame]) -> int:
    """How many cars cannot be seen for a while, between being seen."""
    times: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        for car, shown in frame.items():
            if shown.counts:
                times.setdefault(car, []).append(index)
    return sum(len(when) < when[-1] - when[0] + 1 for when in times.values())
