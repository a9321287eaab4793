import numpy as np

from siwatsystem.detections import Detection
from siwatsystem.overlay import draw


def test_boxes_are_drawn_on_a_copy_and_cut_to_the_crop():
    image = np.zeros((200, 320, 3), np.uint8)
    seen = [Detection("Car", 0.9, (100, 80, 200, 160), 3)]
    drawn = draw(image, seen)
    assert drawn.shape == image.shape
    assert image.max() == 0
    assert drawn[160, 150].max() > 0
    assert drawn[120, 150].max() == 0
    assert draw(image, seen, (90, 70, 210, 170)).shape == (100, 120, 3)


def test_a_box_outside_and_a_name_that_is_not_ascii_do_not_fail():
    image = np.zeros((50, 50, 3), np.uint8)
    assert draw(image, [Detection("汽车", 0.5, (-100, -100, 900, 900))]).shape == image.shape
