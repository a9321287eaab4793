"""What was seen over a picture or clip, and whether that is what was expected. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from siwatsystem.detections import Xyxy, iou
from siwatsystem.expectations import Case, Expectation
from siwatsystem.pipeline.events import Event
from siwatsystem.pipeline.regions import same_name

SHOWN = 5

Identity = tuple[str, int]
"""Class and track id."""


@dataclass(slots=True)
class Thing:
    """One object: over a clip where it was followed, else on one frame."""

    class_name: str
    tracker_id: int | None = None
    boxes: list[Xyxy] = field(default_factory=list[Xyxy])
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    """As they were when last seen."""
    branches: dict[str, str] = field(default_factory=dict[str, str])
    """The class that each branch gave, likewise, by its `modelId`."""
    events: set[int] = field(default_factory=set[int])
    """Numbers of the events that it was part of."""
    first: float = 0.0
    """When it was first seen, in seconds of the clip."""

    def see(self, event: Event, number: int, box: Xyxy) -> None:
        self.boxes.append(box)
        self.events.add(number)
        results = event.branches.values()
        self.branches |= {one.node.model_id: one.class_name for one in results}
        self.attributes |= {
            one.node.attribute_name: one.class_name for one in results if one.node.attribute_name
        }

    def is_as(self, wanted: Expectation) -> bool:
        """Whether it is one of those that are expected."""
        box = wanted.box
        return (
            same_name(self.class_name, wanted.class_name)
            and (box is None or any(iou(box, own) >= wanted.min_iou for own in self.boxes))
            and _holds(self.attributes, wanted.attributes)
            and _holds(self.branches, wanted.branches)
        )

    def __str__(self) -> str:
        number = "" if self.tracker_id is None else f" #{self.tracker_id}"
        known = self.attributes or self.branches
        said = "".join(f", {name} {value}" for name, value in known.items())
        corners = ", ".join(f"{edge:.0f}" for edge in self.boxes[-1])
        when = f" at {self.first:.1f} s" if self.first else ""
        return f"{self.class_name}{number}{said} in [{corners}]{when}"


class Sightings:
    """The events of one picture or clip, frame by frame.

    `tracked`: objects are told apart by their track ids, and what has none (yet) is none; else each
    frame stands for itself. `object_class`: parts have no ids and go by that of their object.
    """

    def __init__(self, tracked: bool, object_class: str | None = None) -> None:
        self._tracked = tracked
        self._parts_have_ids = object_class is None
        self._followed: dict[Identity, Thing] = {}
        self._frames: list[list[Thing]] = []
        self._events = 0

    def add(self, events: Sequence[Event], at: float) -> None:
        """What one frame, `at` seconds, gave."""
        here: list[Thing] = []
        for event in events:
            self._events += 1
            for name, box in event.regions.items():
                thing = Thing(name, first=at)
                if self._tracked:
                    number = box.tracker_id
                    if number is None and not self._parts_have_ids:
                        number = event.tracker_id
                    if number is None:
                        continue
                    thing.tracker_id = number
                    thing = self._followed.setdefault((name, number), thing)
                thing.see(event, self._events, box.xyxy)
                here.append(thing)
        if not self._tracked:
            self._frames.append(here)

    @property
    def groups(self) -> list[list[Thing]]:
        """Things that count together: those of a clip, or of one of its frames."""
        return [list(self._followed.values())] if self._tracked else self._frames

    def failures(self, case: Case) -> list[str]:
        """What is not as `case` expects it; empty: it passes."""
        found: list[str] = []
        expected: set[int] = set()
        for index, wanted in enumerate(case.expect):
            matching = [[thing for thing in group if thing.is_as(wanted)] for group in self.groups]
            expected |= {number for group in matching for thing in group for number in thing.events}
            least, most = wanted.bounds(case.exactly)
            count = max(map(len, matching), default=0)
            if count < least or (most is not None and count > most):
                same = (thing for thing in self._things() if same_name(thing.class_name, wanted.class_name))
                wants = f"{_wish(wanted)}: {_number(least, most)} expected, {count} seen"
                found.append(f"expect[{index}]: {wants} ({_list(same)})")
        if case.exactly:
            # What was once part of an event that is expected belongs to it, like the front of a car.
            others = [thing for thing in self._things() if not thing.events & expected]
            if others:
                found.append(f"exactly: not expected: {_list(iter(others))}")
        return found

    def _things(self) -> Iterator[Thing]:
        return (thing for group in self.groups for thing in group)


def _holds(own: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(own.get(name) == value for name, value in wanted.items())


def _wish(wanted: Expectation) -> str:
    also = [f"{name} {value}" for name, value in {**wanted.attributes, **wanted.branches}.items()]
    if wanted.box is not None:
        also.append(f"its box in {[round(edge) for edge in wanted.box]}")
    return f"{wanted.class_name} with {' and '.join(also)}" if also else wanted.class_name


def _number(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    return str(least) if least == most else f"{least} to {most}"


def _list(things: Iterator[Thing]) -> str:
    found = [str(thing) for thing in things]
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more if found else "no other of that class"
