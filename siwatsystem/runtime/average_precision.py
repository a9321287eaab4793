"""mAP50-95 of detections against known boxes.

Source of the algorithm: COCO's evaluation as ultralytics computes it: per class and IoU threshold
(0.50, 0.55 … 0.95) boxes are matched best first, each true box once; the precision envelope is
integrated over 101 points of recall; the mean over thresholds and classes that occur.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from siwatsystem.detections import Detection, Xyxy, iou

TrueBox = tuple[str, Xyxy]
"""Class name and corners in pixels."""

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def mean_average_precision(
    predictions: Sequence[Sequence[Detection]], truth: Sequence[Sequence[TrueBox]]
) -> float | None:
    """0–1 over all pictures; None where the truth holds no box at all."""
    classes = sorted({name for boxes in truth for name, _ in boxes})
    if not classes:
        return None
    return float(np.mean([_of_class(name, predictions, truth) for name in classes]))


def _of_class(
    name: str, predictions: Sequence[Sequence[Detection]], truth: Sequence[Sequence[TrueBox]]
) -> float:
    confidences: list[float] = []
    hits: list[NDArray[np.bool_]] = []
    total = 0
    for seen, known in zip(predictions, truth, strict=True):
        boxes = [box for label, box in known if label == name]
        found = sorted((item for item in seen if item.class_name == name), key=lambda item: -item.confidence)
        total += len(boxes)
        confidences.extend(item.confidence for item in found)
        hits.extend(_hits([item.xyxy for item in found], boxes))
    if not hits:
        return 0.0
    order = np.argsort(-np.array(confidences), kind="stable")
    ranked = np.array(hits)[order]
    return float(np.mean([_area(ranked[:, step], total) for step in range(len(THRESHOLDS))]))


def _hits(found: Sequence[Xyxy], boxes: Sequence[Xyxy]) -> list[NDArray[np.bool_]]:
    """For each found box (best first) whether it hits a true one still free, per threshold."""
    overlaps = np.array([[iou(one, other) for other in boxes] for one in found]).reshape(
        len(found), len(boxes)
    )
    out = np.zeros((len(found), len(THRESHOLDS)), np.bool_)
    for step, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(boxes), np.bool_)
        for index in range(len(found)):
            candidates = np.where(free, overlaps[index], -1.0)
            best = int(candidates.argmax()) if len(boxes) else -1
            if best >= 0 and candidates[best] >= threshold:
                free[best] = False
                out[index, step] = True
    return list(out)


def _area(hits: NDArray[np.bool_], total: int) -> float:
    """Area under the precision envelope."""
    right = np.cumsum(hits)
    recall = right / total
    precision = right / np.arange(1, len(hits) + 1)
    # Beyond the recall that is reached precision is 0, with a step and not along a slope.
    recall = np.concatenate(([0.0], recall, recall[-1:], [1.0]))
    envelope = np.maximum.accumulate(np.concatenate(([1.0], precision, [0.0, 0.0]))[::-1])[::-1]
    points = np.linspace(0, 1, 101)
    return float(np.trapezoid(np.interp(points, recall, envelope), points))
