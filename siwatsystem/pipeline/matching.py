"""Which of a frame's boxes show which tracks: place and size, class and looks weighed together."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from siwatsystem.detections import Detection, Xyxy
from siwatsystem.pipeline.association import FORBIDDEN, Array, assign, clipped, costs, overlaps
from siwatsystem.pipeline.tracking import TrackerConfig
from siwatsystem.pipeline.tracklets import Tracklet

Encode = Callable[[Sequence[Detection]], NDArray[np.float32]]

BREAK_EVEN = 6.0
"""Cost at which a box is as likely a new object as the track's."""
OTHER_CLASS_COST = 6.0
"""Added where box and track are of different classes."""
SAME_THING = 0.5
"""Overlap (IoU) from which boxes of different classes may be one thing whose class flickers."""
LEAST_INSIDE = 0.05
"""Share of where a track is expected that must lie in the picture."""
MOSTLY_INSIDE = 0.5
"""The same, for overlap to speak for a match."""
LEAVING_COST = 6.0
"""Added for the share of where a track is expected that lies outside."""
SHRUNK_SEC = 1.0
"""How long after it was last seen a track's box cannot have become much smaller both ways:"""
SHRUNK_BOTH, SHRUNK_ONE = 0.75, 0.5
"""below the first share in width and height, below the second in one. What is half hidden keeps one."""
LOOKS_WEIGHT = 20.0
"""Cost per difference of cosine similarity from `appearance_thresh`."""
LOOKS_AT_MOST = 8.0
"""Most that looks add or take away."""
LOOKS_FRESH_SEC = 1.0
"""Age from which a track's looks are taken again although nothing else could be meant."""


def match(
    boxes: Sequence[Detection],
    tracks: Sequence[Tracklet],
    config: TrackerConfig,
    edge: Xyxy,
    clock: float,
    encode: Encode | None = None,
) -> list[tuple[int, Tracklet]]:
    """The tracks that boxes continue, by index of the box; tracks are predicted to this frame already.

    `edge`: the picture's. What went out of it is not continued by what comes in.
    `encode` gives looks (n × d, rows of unit length) where they are to be compared; tracks that are
    continued take theirs in, at the time `clock`.
    """
    if not boxes or not tracks:
        return []
    cost, off = _costs(boxes, tracks, edge)
    cost[_shrunk(boxes, tracks, clock)] = FORBIDDEN
    share = min(max(config.match_thresh, 1e-6), 1 - 1e-6)
    limit = BREAK_EVEN + 2 * math.log(share / (1 - share))
    if config.fuse_score:
        cost = cost - 2 * np.log(np.maximum([box.confidence for box in boxes], 0.01))[None, :]
    looks = {} if encode is None else _compare_looks(cost, off, boxes, tracks, config, limit, clock, encode)
    pairs = [(column, tracks[row]) for row, column in assign(cost, limit)]
    for column, track in pairs:
        if column in looks:
            track.look(looks[column], clock)
    return pairs


def _costs(boxes: Sequence[Detection], tracks: Sequence[Tracklet], edge: Xyxy) -> tuple[Array, Array]:
    """By place, size and class: what each pair costs, and how far each box is off (tracks × boxes)."""
    predicted, inside = clipped(np.array([track.motion.box for track in tracks], np.float64), edge)
    doubts = np.array([track.motion.doubts for track in tracks], np.float64)
    seen = np.array([box.xyxy for box in boxes], np.float64)
    overlap = overlaps(predicted, seen)
    # Where a track is about to be gone, a box that comes in at the same edge may well overlap it.
    cost, off = costs(predicted, doubts, seen, np.where(inside[:, None] < MOSTLY_INSIDE, 0.0, overlap))
    cost += LEAVING_COST * (1 - inside)[:, None]
    names = np.array([box.class_name for box in boxes])
    other = names[None, :] != np.array([track.class_name for track in tracks])[:, None]
    cost[other] += OTHER_CLASS_COST
    cost[other & (overlap < SAME_THING)] = FORBIDDEN
    cost[inside < LEAST_INSIDE] = FORBIDDEN
    return cost, off


def _shrunk(boxes: Sequence[Detection], tracks: Sequence[Tracklet], clock: float) -> NDArray[np.bool_]:
    """Pairs (tracks × boxes) in which a car would have shrunk as no car does: another one, farther away,
    that comes into sight where the first has left."""
    before = np.array([track.box.xyxy for track in tracks], np.float64)
    seen = np.array([box.xyxy for box in boxes], np.float64)
    sides = np.maximum(before[:, 2:] - before[:, :2], 1e-6)
    shares = (seen[:, 2:] - seen[:, :2])[None, :, :] / sides[:, None, :]
    lately = np.array([clock - track.at <= SHRUNK_SEC for track in tracks])
    return lately[:, None] & (shares < SHRUNK_BOTH).all(axis=2) & (shares < SHRUNK_ONE).any(axis=2)


def _compare_looks(
    cost: Array,
    off: Array,
    boxes: Sequence[Detection],
    tracks: Sequence[Tracklet],
    config: TrackerConfig,
    limit: float,
    clock: float,
    encode: Encode,
) -> dict[int, NDArray[np.float32]]:
    """Add to `cost` what looks say, where boxes are near enough; returns the looks by index of the box.

    Only boxes are encoded that could be several tracks' (or whose track could be several boxes'), or
    whose track's looks are old or not known yet.
    """
    near = (np.exp(-off / 2) >= 1 - config.proximity_thresh) & (cost < limit + LOOKS_AT_MOST)
    stale = np.array([t.looks is None or clock - t.looked >= LOOKS_FRESH_SEC for t in tracks])
    unclear = (near.sum(axis=0) > 1) | (near & (near.sum(axis=1) > 1)[:, None]).any(axis=0)
    wanted = np.flatnonzero(unclear | (near & stale[:, None]).any(axis=0))
    if not wanted.size:
        return {}
    rows = np.asarray(encode([boxes[int(column)] for column in wanted]), np.float32)
    for row, track in enumerate(tracks):
        if track.looks is None:
            continue
        unlike = LOOKS_WEIGHT * (config.appearance_thresh - rows @ track.looks)
        said = np.clip(unlike, -LOOKS_AT_MOST, LOOKS_AT_MOST)
        cost[row, wanted] += np.where(near[row, wanted] & np.isfinite(said), said, 0.0)
    return {int(column): looks for column, looks in zip(wanted, rows, strict=True)}
