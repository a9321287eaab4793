"""Letterboxing to the pixel, against ultralytics' own."""

import numpy as np
import pytest

from siwatsystem.runtime.letterbox import letterbox

SHAPES = [
    (1080, 1920),
    (1920, 1080),
    (333, 517),
    (517, 333),
    (7, 1000),
    (1000, 7),
    (1, 1),
    (640, 640),
    (384, 641),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("target", [(640, 640), (320, 320), (384, 640)])
@pytest.mark.parametrize("stride", [32, None])
def test_pictures_and_boxes_are_those_of_ultralytics(target: tuple[int, int], stride: int | None):
    from siwatsystem.runtime.silence import silence

    silence()
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.ops import scale_boxes

    rng = np.random.default_rng(1)
    for height, width in SHAPES:
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        theirs = LetterBox(target, auto=stride is not None, stride=32)(image=image)
        box = letterbox(height, width, target, stride)
        ours = box.apply(image)
        assert ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)
        assert box.size == theirs.shape[:2]
        boxes = rng.uniform(-20, 700, (20, 4)).astype(np.float32)
        expected = scale_boxes(theirs.shape[:2], boxes.copy(), (height, width))
        assert box.restore(boxes) == pytest.approx(expected, abs=1e-3)


def test_a_full_hd_picture_becomes_the_least_rectangle():
    box = letterbox(1080, 1920, (640, 640))
    assert (box.size, box.inner) == ((384, 640), (360, 640))
    assert letterbox(1080, 1920, (640, 640), None).size == (640, 640)
