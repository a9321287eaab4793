"""Subscriptions that follow the same film together see what each would see alone."""

import random
from collections.abc import Sequence

import pytest

from siwatsystem.detections import Detection
from siwatsystem.pipeline.following import Seen
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.shared_tracking import SharedTracking
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.trackers import BoxTracker

SIZE = (1000, 600)
NODE = Node.model_validate(
    {
        "modelId": "cars",
        "modelFile": "cars.pt",
        "minConfidence": 0.5,
        "triggerClasses": ["Car"],
        "tracking": {"stabilityThreshold": 2},
    }
)


def film(seed: int, frames: int = 30) -> list[tuple[Detection, ...]]:
    """Boxes that move, waver, flicker, come and go."""
    chance = random.Random(seed)
    cars = [
        (chance.uniform(-300, 900), chance.uniform(0, 300), chance.uniform(-60, 60), chance.choice("AB"))
        for _ in range(5)
    ]
    shown: list[tuple[Detection, ...]] = []
    for frame in range(frames):
        boxes: list[Detection] = []
        for x, y, speed, name in cars:
            left = x + speed * frame + chance.gauss(0, 3)
            if chance.random() > 0.2 and 0 <= left <= 850:
                box = (left, y, left + 150, y + 100 + chance.gauss(0, 2))
                boxes.append(Detection(name, chance.uniform(0.2, 0.95), box))
        shown.append(tuple(boxes))
    return shown


class Viewer:
    """A subscription that joins at a frame; `told` is what it was told on each."""

    def __init__(self, joins: int, shared: SharedTracking | None) -> None:
        self.joins = joins
        self.told: list[tuple[Detection, ...]] = []
        self.forgotten: list[int] = []
        self._state = PipelineState(shared=shared)
        self._frames = 0

    def show(self, boxes: Sequence[Detection], at: float) -> None:
        self._frames += 1
        follower = self._state.follower(NODE)
        assert follower is not None
        seen: Seen = follower.follow(boxes, SIZE, self._frames, at, NODE.min_confidence)
        self.told.append(tuple(box for box in seen.boxes if seen.ready(box)))
        self.forgotten.append(len(follower.ended(self._frames, at)))


def play(shown: Sequence[tuple[Detection, ...]], joins: Sequence[int], together: bool) -> list[Viewer]:
    common = SharedTracking() if together else None
    viewers = [Viewer(number, common) for number in joins]
    for number, boxes in enumerate(shown):
        for viewer in viewers:
            if viewer.joins <= number:
                viewer.show(boxes, 1000 + number / 2)
    return viewers


@pytest.mark.parametrize("seed", range(12))
def test_each_sees_what_it_would_see_alone(seed: int):
    shown, joins = film(seed), [0, 0, 4, 4, 9, 0]
    alone, together = play(shown, joins, together=False), play(shown, joins, together=True)
    assert any(any(told) for told in (viewer.told for viewer in alone))
    for one, other in zip(alone, together, strict=True):
        assert other.told == one.told
        assert other.forgotten == one.forgotten


def test_those_who_began_together_work_it_out_once(monkeypatch: pytest.MonkeyPatch):
    steps: list[int] = []
    update = BoxTracker.update

    def counted(self: BoxTracker, *arguments: object) -> object:
        steps.append(1)
        return update(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BoxTracker, "update", counted)
    shown = film(1)
    play(shown, [0], together=True)
    one = len(steps)
    play(shown, [0] * 10, together=True)
    assert len(steps) == 2 * one
    play(shown, [0] * 5 + [7] * 5, together=True)
    assert len(steps) < 4 * one


def test_nothing_is_kept_of_frames_that_are_over():
    shown, common = film(2, frames=40), SharedTracking()
    viewers = [Viewer(0, common) for _ in range(3)]
    for number, boxes in enumerate(shown):
        for viewer in viewers:
            viewer.show(boxes, float(number))
    assert len(common._steps._answers) <= 2


def test_other_boxes_part_those_who_began_together():
    common = SharedTracking()
    one, other = Viewer(0, common), Viewer(0, common)
    car, van = Detection("Car", 0.9, (0, 0, 150, 100)), Detection("Van", 0.9, (600, 0, 750, 100))
    for number in range(4):
        one.show([car], float(number))
        other.show([car, van], float(number))
    assert [box.class_name for box in one.told[-1]] == ["Car"]
    assert [box.class_name for box in other.told[-1]] == ["Car", "Van"]
