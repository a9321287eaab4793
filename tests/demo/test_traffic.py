from dataclasses import replace

import numpy as np
import pytest

from demo.scenes import scripts
from demo.scenes.layers import StillStage
from demo.scenes.scripts import KINDS, LIGHTS, sample_traffic
from demo.scenes.traffic import Drive, Stop, Traffic, in_picture, swept, touches
from demo.seeds import TRAFFIC

SIZE = (320, 180)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Pumps by night: the sky, wet ground, lamps and things that stand in front of cars."""
    return sample_traffic(TRAFFIC[13], SIZE)


def test_layers_give_the_same_picture_as_painting_everything(traffic: Traffic) -> None:
    still = StillStage(traffic.stage)
    for now in (5.0, 5.1, 8.0):
        there = [car for drive in traffic.drives if (car := drive.at(now)) is not None]
        cars = [car for car in there if in_picture(car, traffic.stage)]
        assert cars
        whole = traffic.stage.shoot(cars, [], seed=3)
        layered = still.shoot(cars, 3, [1 + 2 * k for k in range(len(cars))])
        assert np.array_equal(whole.image, layered.image)
        assert np.array_equal(whole.tags, layered.tags)
        assert whole.cars == layered.cars


def test_kinds_and_lights_take_turns() -> None:
    names = [sample_traffic(seed, SIZE).name.rsplit("-", 1)[0] for seed in TRAFFIC[:5]]
    assert names == [*(f"{kind}-{LIGHTS[0]}" for kind in KINDS), f"crossing-{LIGHTS[1]}"]


def test_the_same_seed_gives_the_same_clip(traffic: Traffic) -> None:
    again = sample_traffic(TRAFFIC[13], SIZE)
    assert again.drives == traffic.drives
    assert again.stage.camera == traffic.stage.camera


def test_no_two_cars_touch(traffic: Traffic) -> None:
    assert len(traffic.drives) > 2
    paths = [swept(drive, scripts.SECONDS) for drive in traffic.drives]
    assert not any(touches(a, b) for k, a in enumerate(paths) for b in paths[:k])


def test_cars_face_where_they_drive(traffic: Traffic) -> None:
    drive = replace(traffic.drives[0], way=((0.0, 20.0), (5.0, 15.0), (10.0, 10.0)), start_sec=0.0, stops=())
    early, late = drive.at(1.0), drive.at(2.0)
    assert early is not None
    assert late is not None
    assert early.yaw == pytest.approx(np.pi / 4, abs=0.02)
    assert late.x - early.x == pytest.approx(early.y - late.y, abs=0.02)
    assert np.hypot(late.x - early.x, late.y - early.y) == pytest.approx(drive.speed, rel=0.02)


def test_a_car_waits_and_drives_on(traffic: Traffic) -> None:
    way = ((0.0, 30.0), (0.0, 20.0), (0.0, 0.0))
    drive = Drive(traffic.drives[0].car, way, 1.0, 4.0, (Stop(1, 8.0),))
    assert drive.at(0.9) is None
    waiting = [car.y for now in (5.0, 6.0, 7.9) if (car := drive.at(now)) is not None]
    assert waiting == pytest.approx([20.0] * 3, abs=0.15)
    moving = drive.at(9.5)
    assert moving is not None
    assert moving.y < 19
    assert drive.at(drive.end_sec + 0.1) is None


def test_frames_have_one_truth_a_drive(traffic: Traffic) -> None:
    short = replace(traffic, seconds=0.2)
    frames = list(short)
    assert len(frames) == 2
    for scene, truths in frames:
        assert scene.image.shape == (180, 320, 3)
        assert len(truths) == len(traffic.drives)
        assert [truth for truth in truths if truth is not None] == scene.cars
