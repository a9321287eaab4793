from dataclasses import replace

import numpy as np
import pytest

from demo.scenes.car import Car
from demo.scenes.plate import PLATE_TYPES
from demo.scenes.scene import sample_stage
from examples.plates.dataset import label, stretched, wandered
from examples.plates.measure import Tally, match
from examples.plates.scenes import SHIPPED, PlateTruth, render
from siwatsystem.detections import Detection
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.node import Node

SIZE = (320, 180)
PLATE = PlateTruth("electric", (120.0, 150.0, 170.0, 160.0), 1.0)


@pytest.fixture(scope="module")
def pictures() -> dict[str | None, np.ndarray]:
    stage = sample_stage(np.random.default_rng(SHIPPED[-1]), SIZE)
    car = Car("Aster", "SUV", (40, 38, 170), 0.0, 8.0, 0.0)
    return {kind: stage.shoot([replace(car, plate_type=kind)], [], 1).image for kind in (None, *PLATE_TYPES)}


def test_a_car_without_a_type_has_a_private_plate(pictures: dict[str | None, np.ndarray]) -> None:
    assert np.array_equal(pictures[None], pictures["private"])


def test_types_look_different_and_only_on_the_plate(pictures: dict[str | None, np.ndarray]) -> None:
    for kind in ("commercial", "electric", "diplomatic"):
        changed = np.abs(pictures[kind].astype(int) - pictures[None]).max(axis=2) > 40
        rows, columns = np.nonzero(changed)
        assert len(rows) > 10
        assert np.ptp(columns) < SIZE[0] * 0.2
        assert np.ptp(rows) < SIZE[1] * 0.15


def test_the_truth_about_plates_lies_in_their_fronts() -> None:
    scene = render(SHIPPED[293], SIZE)
    pairs = [(car, plate) for car, plate in zip(scene.cars, scene.plates, strict=True) if plate]
    assert {plate.plate_type for _, plate in pairs} == {"commercial", "electric"}
    for car, plate in pairs:
        assert car.frontal is not None
        assert car.frontal[0] - 1 <= plate.box[0] < plate.box[2] <= car.frontal[2] + 1
        assert car.frontal[1] - 1 <= plate.box[1] < plate.box[3] <= car.frontal[3] + 1
        assert plate.visible_fraction > 0.9


def test_the_same_seed_gives_the_same_plates() -> None:
    one, other = (render(SHIPPED[293], SIZE) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert one.plates == other.plates


def test_labels_are_fractions_of_the_cut() -> None:
    assert label((20, 30, 40, 40), (0, 0, 100, 100)) == "0 0.300000 0.350000 0.200000 0.100000"
    assert label((-10, 90, 50, 120), (0, 0, 100, 100)) == "0 0.250000 0.950000 0.500000 0.100000"


def test_a_cut_stays_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((90, 160, 3), np.uint8)
    for _ in range(200):
        x1, y1, x2, y2 = wandered((-4, -4, 170, 95), rng, (160, 90), 0.3)
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 90
        assert stretched(image, (x1, y1, x2, y2), 64).shape == (64, 64, 3)


def event(plate: tuple[float, float, float, float] | None, kind: str) -> Event:
    """What the pipeline tells of a car at (50, 50, 250, 170)."""
    found: dict[str, BranchResult] = {}
    if plate is not None:
        box = Detection("Plate", 0.9, plate)
        node = {"modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["x"]}
        detect = Node.model_validate({**node, "modelId": "plate_detection"})
        classify = Node.model_validate({**node, "modelId": "types", "attribute": "licensePlateType"})
        found["plate_detection"] = BranchResult(detect, "Plate", 0.9, None, (box,))
        found["types"] = BranchResult(classify, kind, 0.9)
    return Event(Detection("Car", 0.9, (50.0, 50.0, 250.0, 170.0)), {}, found)


@pytest.mark.parametrize(
    ("events", "tally"),
    [
        ([], Tally(1, 1)),
        ([event(None, "")], Tally(1, 1, 1)),
        ([event((0.0, 0.0, 40.0, 10.0), "electric")], Tally(1, 1, 1, false_plates=1)),
        ([event((121.0, 150.0, 170.0, 160.0), "private")], Tally(1, 1, 1, 1)),
        ([event((121.0, 150.0, 170.0, 160.0), "electric")], Tally(1, 1, 1, 1, 1)),
    ],
)
def test_a_frame_is_scored(events: list[Event], tally: Tally) -> None:
    scene = render(SHIPPED[293], SIZE)
    car = replace(scene.cars[0], box=(50.0, 50.0, 250.0, 170.0), frontal=(60.0, 120.0, 240.0, 168.0))
    car = replace(car, visible_fraction=1.0, front_fraction=1.0)
    assert match([car], [PLATE], events) == tally


def test_an_illegible_plate_is_not_asked_for() -> None:
    scene = render(SHIPPED[293], SIZE)
    assert match(scene.cars[:1], [replace(PLATE, visible_fraction=0.5)], []) == Tally(1)
