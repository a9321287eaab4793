"""Boxes of cars as a detector would give them, with the truth: who each box shows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from siwatsystem.detections import Detection

WIDTH, HEIGHT = 1280.0, 720.0
MISSED, JITTER, FALSE = 0.05, 0.02, 0.01
HIDDEN, LOW = 0.7, 0.45
"""Share of a car behind others above which it is not found, and above which it is found with doubt."""


@dataclass(frozen=True)
class Drive:
    """A car that crosses the picture from x `start` at `begin`, stops `wait` seconds in `stop`."""

    number: int
    lane: float
    direction: int
    speed: float
    size: tuple[float, float]
    begin: float
    stop: float
    wait: float
    slope: float

    def box(self, at: float) -> np.ndarray | None:
        t = at - self.begin
        if t < 0:
            return None
        w, h = self.size
        # Brakes with constant deceleration over `ramp` seconds to the stop, and leaves likewise.
        ramp = 1.2 if self.wait else 0.0
        cruise = max(self.stop / self.speed - ramp / 2, 0.0)
        if t <= cruise or not self.wait:
            way = self.speed * t
        elif t <= cruise + ramp:
            u = t - cruise
            way = self.speed * (cruise + u - u * u / (2 * ramp))
        elif t <= cruise + ramp + self.wait:
            way = self.speed * (cruise + ramp / 2)
        else:
            u = t - cruise - ramp - self.wait
            go = min(u, ramp)
            way = self.speed * (cruise + ramp / 2 + go * go / (2 * ramp) + max(u - ramp, 0.0))
        if way > WIDTH + w:
            return None
        x = way - w / 2 if self.direction > 0 else WIDTH + w / 2 - way
        y = self.lane + self.slope * (x - WIDTH / 2)
        return np.array([x - w / 2, y - h, x + w / 2, y])


def traffic(seed: int, seconds: float = 60.0) -> list[Drive]:
    """Cars on four lanes, two each way, the nearer hiding the farther; a third of them stop on the way."""
    rng = np.random.default_rng(seed)
    drives: list[Drive] = []
    for lane, (bottom, direction, scale) in enumerate(
        ((330.0, 1, 0.7), (400.0, -1, 0.85), (520.0, 1, 1.0), (640.0, -1, 1.15))
    ):
        now = float(rng.uniform(0, 3))
        slope = float(rng.uniform(-0.15, 0.15)) if lane % 2 else 0.0
        while now < seconds - 6:
            width = 200 * scale * float(rng.uniform(0.85, 1.2))
            speed = 330 * scale * float(rng.uniform(0.6, 1.2))
            waits = float(rng.uniform(1, 5)) if rng.random() < 0.34 else 0.0
            size = (width, width * float(rng.uniform(0.5, 0.65)))
            place = float(rng.uniform(400, 900))
            drives.append(Drive(len(drives), bottom, direction, speed, size, now, place, waits, slope))
            # The next one in this lane comes once this one cannot be run into.
            now += waits + (WIDTH if waits else 1.8 * width) / speed + float(rng.exponential(3.0))
            now += 1.2 if waits else 0.6
    return drives


def frames(
    seed: int, fps: float, seconds: float = 60.0
) -> Iterator[tuple[float, list[Detection], list[int | None]]]:
    """Frame by frame: the time, boxes in any order, and whose they are (None: nobody's).

    A car that could be seen and was not found is given as a number past the end of the boxes.
    """
    drives, rng = traffic(seed, seconds), np.random.default_rng(seed + 1)
    for k in range(int(seconds * fps)):
        at = k / fps
        boxes: list[Detection] = []
        whose: list[int | None] = []
        lost: list[int] = []
        placed = [(drive, box) for drive in drives if (box := _visible(drive.box(at))) is not None]
        for drive, box in placed:
            nearer = [other for one, other in placed if one.lane > drive.lane]
            box, hidden = _cut(box, nearer)
            if hidden > HIDDEN:
                continue
            if rng.random() < MISSED:
                lost.append(drive.number)
                continue
            confidence = float(rng.uniform(0.12, 0.5) if hidden > LOW else rng.uniform(0.55, 0.95))
            boxes.append(Detection("Car", confidence, _jittered(box, rng)))
            whose.append(drive.number)
        for _ in range(rng.binomial(max(len(placed), 1), FALSE)):
            x, y, w = rng.uniform(0, WIDTH - 200), rng.uniform(200, HEIGHT - 120), rng.uniform(60, 200)
            boxes.append(Detection("Car", float(rng.uniform(0.2, 0.6)), (x, y, x + w, y + 0.6 * w)))
            whose.append(None)
        order = rng.permutation(len(boxes))
        yield at, [boxes[i] for i in order], [*(whose[i] for i in order), *lost]


def idf1(frames: Sequence[tuple[Sequence[int | None], Sequence[int | None]]]) -> float:
    """IDF1 (Ristani et al. 2016) of frames, each as whose the boxes are and their tracks.

    Where the first is longer, the rest of it are objects that were not found.
    """
    from scipy.optimize import linear_sum_assignment

    together: Counter[tuple[int, int]] = Counter()
    true = given = 0
    for whose, tracks in frames:
        true += sum(one is not None for one in whose)
        given += sum(track is not None for track in tracks)
        pairs = zip(whose, tracks, strict=False)
        together.update((one, track) for one, track in pairs if one is not None and track is not None)
    people, numbers = sorted({a for a, _ in together}), sorted({b for _, b in together})
    counts = np.array([[together[a, b] for b in numbers] for a in people])
    rows, columns = linear_sum_assignment(-counts)
    return 2 * float(counts[rows, columns].sum()) / (true + given)


def _visible(box: np.ndarray | None) -> np.ndarray | None:
    """The part inside the picture; None where less than a fifth of the box is."""
    if box is None:
        return None
    low, high = np.maximum(box[:2], 0), np.minimum(box[2:], (WIDTH, HEIGHT))
    inside = np.clip(high - low, 0, None).prod() / (box[2:] - box[:2]).prod()
    return np.concatenate([low, high]) if inside >= 0.2 else None


def _cut(box: np.ndarray, nearer: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The box around what no nearer car hides, and the hidden share of it."""
    grid = np.ones((24, 24), bool)
    xs = np.linspace(box[0], box[2], 25)[:-1] + (box[2] - box[0]) / 48
    ys = np.linspace(box[1], box[3], 25)[:-1] + (box[3] - box[1]) / 48
    for other in nearer:
        across, down = (xs > other[0]) & (xs < other[2]), (ys > other[1]) & (ys < other[3])
        grid[np.ix_(down, across)] = False
    if not grid.any():
        return box, 1.0
    down, across = np.flatnonzero(grid.any(axis=1)), np.flatnonzero(grid.any(axis=0))
    w, h = (box[2] - box[0]) / 24, (box[3] - box[1]) / 24
    x, y = box[:2]
    part = np.array([x + across[0] * w, y + down[0] * h, x + (across[-1] + 1) * w, y + (down[-1] + 1) * h])
    return part, 1 - float(grid.mean())


def _jittered(box: np.ndarray, rng: Generator) -> tuple[float, float, float, float]:
    w, h = box[2] - box[0], box[3] - box[1]
    off = box + rng.normal(0, JITTER, 4) * (w, h, w, h)
    x1, y1, x2, y2 = np.clip(off, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)).tolist()
    return x1, y1, x2, y2
