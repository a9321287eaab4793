import pytest

from siwatsystem.detections import Detection, iou


def test_iou_by_value():
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_a_box_is_mapped_back_to_the_picture_its_crop_was_cut_from():
    box = Detection("Car", 0.9, (1, 2, 3, 4), tracker_id=7)
    assert box.shifted(100, 50, 2, 4) == Detection("Car", 0.9, (102, 58, 106, 66), 7)
    assert box.bottom_centre == (2, 4)
