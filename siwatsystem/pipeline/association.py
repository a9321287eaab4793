"""Which box continues which track: what each pair costs, and the choice that is best altogether.

Costs are twice the negative logarithm of how likely the box is, were it the track's (lengths in longer
sides of the track's box), as in global nearest neighbour association (Blackman and Popoli 1999): a track of
which much is unknown fits many boxes a little, and takes none from a track that fits it well.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siwatsystem.detections import Xyxy
from siwatsystem.pipeline.motion import CUT, JITTER

Array = NDArray[np.float64]

FORBIDDEN = 1e6
"""Cost of a pair that must not be."""
SHAPE_AT_MOST = 6.0
"""Most that a change of width and height costs each: what is half hidden is still the same."""
OVERLAP_COST = 20.0
"""Cost of no overlap where overlap stands for nearness; falls to 0 at full overlap."""
LEAST_OVERLAP = 0.25
"""Overlap (IoU) above which it may stand for nearness."""


def overlaps(a: Array, b: Array) -> Array:
    """Intersection over union, n × m, of boxes n × 4 and m × 4 (x1, y1, x2, y2)."""
    inside = _intersections(a, b)
    return inside / (_areas(a)[:, None] + _areas(b)[None, :] - inside)


def contained(a: Array, b: Array) -> Array:
    """Share of the smaller box's area that lies in the other, n × m."""
    return _intersections(a, b) / np.minimum(_areas(a)[:, None], _areas(b)[None, :])


def clipped(boxes: Array, edge: Xyxy) -> tuple[Array, Array]:
    """The boxes' parts in a picture of these edges, n × 4, and which share of their area that is, n."""
    low, high = np.array(edge[:2]), np.array(edge[2:])
    parts = np.concatenate([np.clip(boxes[:, :2], low, high), np.clip(boxes[:, 2:], low, high)], axis=1)
    shares = (parts[:, 2:] - parts[:, :2]).prod(axis=1) / _areas(boxes)
    return parts, shares


def costs(boxes: Array, doubts: Array, seen: Array, overlap: Array) -> tuple[Array, Array]:
    """What each pair costs, and how far the box is from what was predicted (both tracks × boxes).

    `boxes` (n × 4): where tracks are predicted; `doubts` (n × 3): variances of centre x, y in pixels and
    of the size's logarithm; `seen` (m × 4): what was detected; `overlap` (n × m): their IoU.
    """
    place, extent = _centres(boxes), _extents(boxes)
    size2 = extent.max(axis=1)[:, None] ** 2
    change = np.log(_extents(seen)[None, :, :] / extent[:, None, :])
    jitter = JITTER + CUT * np.abs(change)
    variance = doubts[:, None, :2] / size2[:, :, None] + jitter**2
    step2 = (_centres(seen)[None, :, :] - place[:, None, :]) ** 2 / size2[:, :, None]
    shape = np.minimum(change**2 / (doubts[:, None, 2:] + 4 * JITTER**2), SHAPE_AT_MOST)
    off = (step2 / variance).sum(axis=2) + shape.sum(axis=2)
    near = np.where(overlap >= LEAST_OVERLAP, OVERLAP_COST * (1 - overlap), np.inf)
    off = np.minimum(off, near)
    known = np.log(doubts[:, :2] / size2 + JITTER**2).sum(axis=1)
    return off + known[:, None], off


def assign(cost: Array, limit: float) -> list[tuple[int, int]]:
    """The pairs (row, column) that cost least altogether, where leaving out a pair costs `limit`."""
    if not cost.size or cost.min() >= limit:
        return []
    import scipy.optimize as optimize

    solve: Any = optimize.linear_sum_assignment
    rows, columns = solve(np.minimum(cost - limit, 0.0))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] < limit]


def _intersections(a: Array, b: Array) -> Array:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0.0, None).prod(axis=2)


def _extents(boxes: Array) -> Array:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)


def _areas(boxes: Array) -> Array:
    return _extents(boxes).prod(axis=1)


def _centres(boxes: Array) -> Array:
    return (boxes[:, :2] + boxes[:, 2:]) / 2
