import numpy as np
import pytest

from demo import seeds
from demo.scenes import Clip, Scene, Visit, render
from demo.scenes.body import BODY_TYPES
from demo.scenes.brands import BRANDS
from demo.scenes.camera import Camera

SEEDS = range(5_000_000, 5_000_008)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render(seed) for seed in SEEDS]


def test_the_same_seed_gives_the_same_bytes(scenes: list[Scene]) -> None:
    again = render(SEEDS[0])
    assert np.array_equal(again.image, scenes[0].image)
    assert again.cars == scenes[0].cars


def test_other_seeds_give_other_pictures(scenes: list[Scene]) -> None:
    assert not np.array_equal(scenes[0].image, scenes[1].image)


def test_pictures_have_the_asked_size(scenes: list[Scene]) -> None:
    assert {scene.image.shape for scene in scenes} == {(360, 640, 3)}
    assert render(SEEDS[0], (320, 180)).image.dtype == np.uint8


def test_boxes_are_the_extents_of_the_id_buffer(scenes: list[Scene]) -> None:
    boxes = 0
    for scene in scenes:
        scale = scene.tags.shape[1] / scene.image.shape[1]
        for k, car in enumerate(scene.cars):
            for box, tags in ((car.box, (1 + 2 * k, 2 + 2 * k)), (car.frontal, (2 + 2 * k,))):
                if box is None:
                    continue
                rows, columns = np.nonzero(np.isin(scene.tags, tags))
                edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert box == pytest.approx([edge / scale for edge in edges])
                boxes += 1
    assert boxes > 10


def test_boxes_lie_in_the_picture_and_fronts_in_their_cars(scenes: list[Scene]) -> None:
    for car in (car for scene in scenes for car in scene.cars if car.box is not None):
        x1, y1, x2, y2 = car.box
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 360
        if car.frontal is not None:
            assert car.frontal[0] >= x1
            assert car.frontal[1] >= y1
            assert car.frontal[2] <= x2
            assert car.frontal[3] <= y2


def test_fractions_are_fractions_and_visible_cars_have_both_boxes(scenes: list[Scene]) -> None:
    cars = [car for scene in scenes for car in scene.cars]
    assert all(0 <= f <= 1 for car in cars for f in (car.visible_fraction, car.front_fraction))
    visible = [car for car in cars if car.visible]
    assert visible
    assert all(car.box is not None and car.frontal is not None for car in visible)
    assert {car.brand for car in cars} <= set(BRANDS)
    assert {car.body_type for car in cars} <= set(BODY_TYPES)


def test_seeds_that_train_never_measure() -> None:
    ranges = [seeds.TRAINING, seeds.VALIDATION, seeds.EVALUATION, seeds.TRAFFIC]
    ranges += [seeds.TRAFFIC_TRAINING, seeds.TRAFFIC_VALIDATION]
    every = [seed for r in ranges for seed in r] + list(seeds.CLIPS.values())
    assert len(every) == len(set(every))


def test_the_camera_and_its_ground_homography_agree() -> None:
    camera = Camera((1.0, 0.0, 3.5), 0.1, 0.2, 1.0, (640, 360))
    points = np.array([[0.0, 10.0, 0.0], [-3.0, 20.0, 0.0]])
    pixels, _ = camera.project(points)
    homogeneous = np.column_stack([points[:, :2], np.ones(2)]) @ camera.ground_homography().T
    assert homogeneous[:, :2] / homogeneous[:, 2:] == pytest.approx(pixels)


def test_a_clip_begins_and_ends_empty_and_shows_its_car_between() -> None:
    clip = Clip(7, "overcast", (Visit("Dynex", "SUV", 0, 1, 0.3),), seconds=14.0, size=(320, 180))
    assert clip.frame(0).cars[0].box is None
    assert clip.frame(clip.frames - 1).cars[0].box is None
    assert clip.frame(8 * clip.fps).cars[0].visible
    assert np.array_equal(clip.frame(30).image, clip.frame(30).image)
