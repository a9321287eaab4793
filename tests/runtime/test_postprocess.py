"""Suppression of overlapping boxes, against ultralytics' own and by value."""

import numpy as np
import pytest

from siwatsystem.runtime import postprocess
from siwatsystem.runtime.postprocess import boxes_of


def raw(seed: int, count: int, classes: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    boxes = np.stack([*rng.uniform(0, 640, (2, count)), *rng.uniform(20, 260, (2, count))])
    return np.concatenate((boxes, rng.uniform(0, 1, (classes, count)) ** 3)).astype(np.float32)


def in_order(boxes: np.ndarray) -> np.ndarray:
    """By confidence, then by place."""
    return boxes[np.lexsort((boxes[:, 0], boxes[:, 1], -boxes[:, 4]))]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("count", "classes", "least"), [(40, 2, 0.1), (200, 1, 0.25), (3000, 3, 0.25), (3000, 80, 0.001)]
)
def test_agrees_with_ultralytics(count: int, classes: int, least: float):
    from siwatsystem.runtime.silence import silence

    silence()
    import torch
    from ultralytics.utils.nms import non_max_suppression

    for seed in range(3):
        data = raw(seed, count, classes)
        theirs = non_max_suppression(torch.from_numpy(data.copy())[None], least, 0.7, max_det=300)[0].numpy()
        ours = boxes_of(data, least)
        assert ours.shape == theirs.shape
        # Of boxes with the very same confidence neither side promises an order.
        assert in_order(ours) == pytest.approx(in_order(theirs), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_few_boxes_are_suppressed_as_many_are(seed: int, monkeypatch: pytest.MonkeyPatch):
    data = raw(seed, 60, 2)
    data[2:4, seed % 7] = 0
    few = boxes_of(data, 0.02)
    assert 5 < len(few) <= 60
    monkeypatch.setattr(postprocess, "_FEW", 0)
    assert np.array_equal(few, boxes_of(data, 0.02))


def test_nothing_above_the_threshold_is_no_boxes():
    assert boxes_of(raw(0, 50, 2) * 0, 0.25).shape == (0, 6)


def test_overlapping_boxes_of_different_classes_stay():
    data = np.array([[50, 50], [50, 50], [40, 40], [40, 40], [0.9, 0.1], [0.2, 0.8]], np.float32)
    assert boxes_of(data, 0.25)[:, 5].tolist() == [0, 1]
    data[4:] = [[0.9, 0.8], [0.1, 0.2]]
    assert boxes_of(data, 0.25).tolist() == [[30, 30, 70, 70, pytest.approx(0.9), 0]]


def test_rows_that_are_boxes_already_are_only_filtered():
    rows = np.array([[0, 0, 10, 10, 0.9, 1], [0, 0, 10, 10, 0.1, 0]], np.float32)
    assert boxes_of(rows, 0.25, end2end=True).tolist() == [rows[0].tolist()]


def test_boxes_without_area_disturb_nothing():
    data = raw(1, 20, 1)
    data[2:4] = 0
    assert len(boxes_of(data, 0.0)) == 20
