"""How often the demo archive is right: `python -m bench.accuracy [--json] [--frames 200]`.

Renders scenes of seeds that never trained anything, runs demo.mpta on each through the product's own
pipeline, and compares what came out with what is really in the picture. Exit status 1 when a goal is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

FRAME_SIZE = (1280, 720)
MIN_IOU = 0.5
GOALS = {"found": 0.95, "both_right": 0.95}

Box = tuple[float, float, float, float]


class Truth(Protocol):
    """What is needed of `demo.scenes.CarTruth`."""

    @property
    def brand(self) -> str: ...
    @property
    def body_type(self) -> str: ...
    @property
    def box(self) -> Box | None: ...
    @property
    def visible(self) -> bool: ...


@dataclass(frozen=True)
class Event:
    """One car as the pipeline told of it; `box` pixels xyxy."""

    box: Box
    brand: str | None
    body_type: str | None


@dataclass(frozen=True)
class Tally:
    """Counts over some frames; they add up."""

    frames: int = 0
    visible: int = 0
    found: int = 0
    brand_right: int = 0
    body_right: int = 0
    both_right: int = 0
    false_positives: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @property
    def rates(self) -> dict[str, float]:
        """Found of visible; right of found; false positives a frame."""
        found = max(1, self.found)
        return {
            "found": self.found / max(1, self.visible),
            "brand_right": self.brand_right / found,
            "body_right": self.body_right / found,
            "both_right": self.both_right / found,
            "false_positives_per_frame": self.false_positives / max(1, self.frames),
        }

    @property
    def passed(self) -> bool:
        return self.visible > 0 and all(self.rates[name] >= goal for name, goal in GOALS.items())


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def match(truth: Sequence[Truth], events: Sequence[Event]) -> Tally:
    """Scores one frame: each event takes the car that it overlaps most, best pairs first.

    A car that is not visible enough to be asked for is not held against an event that found it.
    """
    pairs = sorted(
        (
            (overlap(car.box, event.box), t, e)
            for t, car in enumerate(truth)
            if car.box is not None
            for e, event in enumerate(events)
        ),
        reverse=True,
    )
    car_of: dict[int, int] = {}
    for quality, t, e in pairs:
        if quality >= MIN_IOU and e not in car_of and t not in car_of.values():
            car_of[e] = t
    hits = [(truth[t], events[e]) for e, t in car_of.items() if truth[t].visible]
    brands = [car.brand == event.brand for car, event in hits]
    bodies = [car.body_type == event.body_type for car, event in hits]
    return Tally(
        frames=1,
        visible=sum(car.visible for car in truth),
        found=len(hits),
        brand_right=sum(brands),
        body_right=sum(bodies),
        both_right=sum(a and b for a, b in zip(brands, bodies, strict=True)),
        false_positives=len(events) - len(car_of),
    )
