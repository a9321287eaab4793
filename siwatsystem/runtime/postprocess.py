"""Raw output of a detection network to boxes: threshold, suppression of overlaps, limit.

Source of the algorithm: ultralytics' `non_max_suppression` (single label, class-aware by an
offset) over torchvision's greedy `nms`; arithmetic is in float32 as there.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

IOU_THRESHOLD = 0.7
MAX_BOXES = 300
_MAX_CANDIDATES = 30000
_CLASS_OFFSET = 7680
_FEW = 64


def boxes_of(raw: Floats, min_confidence: float, end2end: bool = False) -> Floats:
    """Rows of x1, y1, x2, y2, confidence, class index; most confident first, at most 300.

    `raw` is (4 + classes) × N with centre, width and height, or M × 6 rows that are boxes already
    (`end2end`, or a network with the suppression built in). Pixels are those of the input.
    """
    if end2end or raw.shape[-1] == 6:
        return raw[raw[:, 4] >= min_confidence][:MAX_BOXES, :6]
    scores = raw[4:]
    found = np.flatnonzero(scores.max(axis=0) >= min_confidence)
    if found.size == 0:
        return np.empty((0, 6), np.float32)
    scores = scores[:, found]
    classes = scores.argmax(axis=0)
    confidence = scores[classes, np.arange(found.size)]
    order = np.argsort(-confidence, kind="stable")[:_MAX_CANDIDATES]
    corners = _corners(raw[:4, found[order]].T)
    classes, confidence = classes[order], confidence[order]
    offset = (classes * _CLASS_OFFSET).astype(np.float32)[:, None]
    keep = suppress(corners + offset, IOU_THRESHOLD, MAX_BOXES)
    return np.column_stack((corners[keep], confidence[keep], classes[keep])).astype(np.float32, copy=False)


def suppress(corners: Floats, iou_threshold: float, limit: int) -> NDArray[np.intp]:
    """Indices of the boxes that stay, greedily; `corners` (N × 4) are sorted best first."""
    if len(corners) <= _FEW:
        return _suppress_few(corners, iou_threshold, limit)
    x1, y1, x2, y2 = corners.T
    areas = (x2 - x1) * (y2 - y1)
    left = np.arange(len(corners))
    kept: list[int] = []
    while left.size and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
        inside = width.clip(0) * height.clip(0)
        with np.errstate(invalid="ignore", divide="ignore"):  # boxes without area overlap nothing
            overlap = inside / (areas[best] + areas[left] - inside)
        left = left[~(overlap > iou_threshold)]
    return np.array(kept, np.intp)


def _suppress_few(corners: Floats, iou_threshold: float, limit: int) -> NDArray[np.intp]:
    """The same for a few boxes, each compared with each at once: numpy's calls cost more than they do."""
    x1, y1, x2, y2 = (edge[:, None] for edge in corners.T)
    areas = (x2 - x1) * (y2 - y1)
    width = np.minimum(x2, x2.T) - np.maximum(x1, x1.T)
    height = np.minimum(y2, y2.T) - np.maximum(y1, y1.T)
    inside = width.clip(0) * height.clip(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # boxes without area overlap nothing
        over = (inside / (areas + areas.T - inside) > iou_threshold).tolist()
    kept: list[int] = []
    for index, row in enumerate(over):
        if len(kept) < limit and not any(row[best] for best in kept):
            kept.append(index)
    return np.array(kept, np.intp)


def _corners(centres: Floats) -> Floats:
    half: Floats = centres[:, 2:] / np.float32(2)
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)
