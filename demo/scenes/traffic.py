"""Several cars under way at once: they queue, hide behind each other and behind pumps, and cross."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .camera import Array
from .car import Car
from .layers import StillStage
from .scene import Scene, Stage
from .truth import CarTruth

ACCELERATION = 2.0
BRAKING = 2.5
STEP_SEC = 0.02
STEP_M = 0.1
LEAST_APART_M = 2.15

Point = tuple[float, float]


@dataclass(frozen=True)
class Stop:
    """Where on its way a car waits (the point of `way` by index), and until when."""

    at: int
    until_sec: float


@dataclass(frozen=True)
class Drive:
    """A car on its way: it appears on the first point (metres) at `start_sec` and drives through all."""

    car: Car
    way: tuple[Point, ...]
    start_sec: float
    speed: float
    stops: tuple[Stop, ...] = ()

    def at(self, now: float) -> Car | None:
        """The car where it is at a time in seconds; None before and after its drive."""
        if now < self.start_sec:
            return None
        driven = self._driven
        index = (now - self.start_sec) / STEP_SEC
        if index > len(driven) - 1:
            return None
        distance = float(np.interp(index, np.arange(len(driven)), driven))
        places, _ = self._curve
        along = min(distance / STEP_M, len(places) - 1.001)
        k = int(along)
        x, y = places[k] + (places[k + 1] - places[k]) * (along - k)
        ahead = places[min(k + 4, len(places) - 1)] - places[max(k - 4, 0)]
        return replace(self.car, x=float(x), y=float(y), yaw=float(np.arctan2(ahead[0], -ahead[1])))

    @property
    def end_sec(self) -> float:
        return self.start_sec + (len(self._driven) - 1) * STEP_SEC

    @cached_property
    def _curve(self) -> tuple[Array, list[float]]:
        """Points every STEP_M along a Catmull-Rom curve through `way`, and how far on it each of `way` is."""
        points = np.array(self.way)
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
        t = np.linspace(0, 1, 60, endpoint=False)[:, None]
        pieces: list[Array] = []
        for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
            bend = (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
            pieces.append(p1 + 0.5 * ((p2 - p0) * t + bend))
        dense = np.concatenate([*pieces, points[-1:]])
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
        even = np.arange(0, length[-1], STEP_M)
        places = np.stack([np.interp(even, length, dense[:, k]) for k in (0, 1)], axis=1)
        return places, [float(length[k * len(t)]) for k in range(len(points))]

    @cached_property
    def _driven(self) -> Array:
        """Metres driven, every STEP_SEC: speeding up and braking as a driver does."""
        places, marks = self._curve
        end = (len(places) - 1) * STEP_M
        stops = [(marks[stop.at], stop.until_sec) for stop in self.stops]
        distance, speed, now = 0.0, self.speed, self.start_sec
        driven = [0.0]
        while distance < end and len(driven) < 6000:
            now += STEP_SEC
            if stops and now >= stops[0][1]:
                stops.pop(0)
            wanted = self.speed
            if stops:
                wanted = min(wanted, float(np.sqrt(2 * BRAKING * max(0.0, stops[0][0] - distance))))
            speed = min(wanted, speed + ACCELERATION * STEP_SEC)
            distance += speed * STEP_SEC
            driven.append(distance)
        return np.array(driven)


@dataclass(frozen=True)
class Traffic:
    """A stage with cars that drive over it, `fps` pictures a second."""

    name: str
    seed: int
    stage: Stage
    drives: tuple[Drive, ...]
    seconds: float
    fps: int = 10

    @property
    def frames(self) -> int:
        return round(self.seconds * self.fps)

    def __iter__(self) -> Iterator[tuple[Scene, list[CarTruth | None]]]:
        """Frame by frame the scene, and one truth per drive: None where its car is not in the picture."""
        still = StillStage(self.stage)
        for index in range(self.frames):
            cars = [drive.at(index / self.fps) for drive in self.drives]
            shown = [k for k, car in enumerate(cars) if car is not None and in_picture(car, self.stage)]
            scene = still.shoot(
                [car for k in shown if (car := cars[k]) is not None],
                self.seed * 1000 + index,
                [1 + 2 * k for k in shown],
            )
            truths = dict(zip(shown, scene.cars, strict=True))
            yield scene, [truths.get(k) for k in range(len(cars))]


def in_picture(car: Car, stage: Stage) -> bool:
    """Whether anything of a car may show."""
    pixels, depth = stage.camera.project(car.hull())
    if (depth <= 0.7).any():
        return False
    (x1, y1), (x2, y2) = pixels.min(axis=0), pixels.max(axis=0)
    width, height = stage.camera.size
    return bool(x2 > 0 and y2 > 0 and x1 < width and y1 < height)


def swept(drive: Drive, seconds: float) -> Array:
    """Where a drive's car is, five times a second: (times, 3 discs that cover it, 2); NaN where it is not."""
    times = np.arange(0, seconds, 0.2)
    places = np.full((len(times), 3, 2), np.nan)
    for k, now in enumerate(times):
        car = drive.at(float(now))
        if car is not None:
            reach = car.shape.length * 0.33
            ahead = np.array([-np.sin(car.yaw), np.cos(car.yaw)]) * reach
            places[k] = np.array([car.x, car.y]) + np.outer([-1, 0, 1], ahead)
    return places


def touches(one: Array, other: Array) -> bool:
    """Whether two cars, swept over the same times, come so near that they could touch."""
    apart = np.linalg.norm(one[:, :, None] - other[:, None], axis=3)
    return bool((apart < LEAST_APART_M).any())


def hits_island(path: Array, stage: Stage) -> bool:
    """Whether a swept car drives over a pumps' island."""
    station = stage.station
    low, high = min(station.pumps) - 1.8, max(station.pumps) + 1.8
    y_off = np.maximum(np.maximum(low - path[..., 1], path[..., 1] - high), 0)
    return any(
        bool((np.hypot(np.maximum(np.abs(path[..., 0] - x) - 0.62, 0), y_off) < 0.95).any())
        for x in station.islands
    )
