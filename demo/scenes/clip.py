"""A station over time: cars drive in, stop at a pump and drive off past the camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .camera import Array, Camera
from .car import PAINTS, Car
from .ground import make_ground
from .lens import Lens
from .light import make_light
from .person import Person
from .scene import Scene, Size, Stage, supersampling
from .station import sample_station

ENTER_SEC = 4.6
STOP_SEC = 5.0
LEAVE_SEC = 3.4
OUT_OF_SIGHT_M = -200.0


@dataclass(frozen=True)
class Visit:
    """A car's visit: it turns in at `start_sec`; `lane` 0-3 from left to right, two an island."""

    brand: str
    body_type: str
    paint: int
    lane: int
    start_sec: float
    stop_y: float = 9.5

    @property
    def end_sec(self) -> float:
        return self.start_sec + ENTER_SEC + STOP_SEC + LEAVE_SEC


@dataclass(frozen=True)
class Clip:
    """A seeded station with scripted visits; begins and ends empty, so that it loops without a jump."""

    seed: int
    light: str
    visits: tuple[Visit, ...]
    seconds: float
    fps: int = 15
    size: Size = (1280, 720)
    rain: float = 0.0

    @property
    def frames(self) -> int:
        return round(self.seconds * self.fps)

    @cached_property
    def stage(self) -> Stage:
        rng = np.random.default_rng(self.seed)
        station = sample_station(rng)
        light = make_light(self.light, rng, station.canopy)
        if self.rain:
            light = replace(light, wet=1.0)
        ground = make_ground(rng, light, station.islands, station.canopy)
        x = sum(station.islands) / 2 + float(rng.uniform(-0.8, 0.8))
        camera = Camera((x, 0.0, 3.5), float(np.arctan2(0.3, 13)), 0.185, float(np.radians(62)), self.size)
        lens = Lens(noise=0.7, exposure=1.06, contrast=1.05, rain=self.rain)
        return Stage(station, light, ground, camera, lens, supersampling(self.size))

    def frame(self, index: int) -> Scene:
        """Frame `index` of `frames`, with its truth: one entry per visit, out of view or not."""
        cars = [self._car(k, visit, index / self.fps) for k, visit in enumerate(self.visits)]
        people = [Person(x, y, self.seed + k) for k, (x, y) in enumerate(self._bystanders())]
        return self.stage.shoot(cars, people, self.seed + index)

    def __iter__(self) -> Iterator[Scene]:
        return (self.frame(k) for k in range(self.frames))

    def _bystanders(self) -> list[tuple[float, float]]:
        return [(self.stage.station.islands[1] + 3.4, self.stage.station.shop_y - 4.0)]

    def _lane_x(self, lane: int) -> float:
        return self.stage.station.islands[lane // 2] + (-2.05, 2.05)[lane % 2]

    def _car(self, index: int, visit: Visit, now: float) -> Car:
        x, y, yaw = self._pose(visit, now)
        return Car(
            brand=visit.brand,
            body_type=visit.body_type,
            paint=PAINTS[visit.paint],
            x=x,
            y=y,
            yaw=yaw,
            lamps=self.stage.light.lamps,
            look=self.seed + 17 * index,
            tints=(0.3 + 0.2 * index, 0.9),
        )

    def _pose(self, visit: Visit, now: float) -> tuple[float, float, float]:
        """(x, y, yaw) in metres and radians at a time in seconds."""
        lane_x = self._lane_x(visit.lane)
        middle = sum(self.stage.station.islands) / 2
        side = 1.0 if lane_x > middle else -1.0
        stop = np.array([lane_x, visit.stop_y])
        enter = np.array([[middle + side * 19.0, 24.5], [lane_x + side * 4.0, 24.5], [lane_x, 20.0], stop])
        leave = np.array(
            [stop, [lane_x, visit.stop_y - 4.5], [lane_x + side * 0.6, 3.0], [lane_x + side * 3.0, -5.0]]
        )
        since = now - visit.start_sec
        if since < 0 or now > visit.end_sec:
            return 0.0, OUT_OF_SIGHT_M, 0.0
        if since < ENTER_SEC:
            return _on_curve(enter, 1 - (1 - since / ENTER_SEC) ** 1.9)
        if since < ENTER_SEC + STOP_SEC:
            return float(stop[0]), float(stop[1]), 0.0
        return _on_curve(leave, ((since - ENTER_SEC - STOP_SEC) / LEAVE_SEC) ** 1.9)


def _on_curve(control: Array, t: float) -> tuple[float, float, float]:
    """Place and heading at t in 0..1 of a cubic Bezier curve (4, 2)."""
    p0, p1, p2, p3 = control
    place = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * p1 + 3 * (1 - t) * t * t * p2 + t**3 * p3
    ahead = 3 * (1 - t) ** 2 * (p1 - p0) + 6 * (1 - t) * t * (p2 - p1) + 3 * t * t * (p3 - p2)
    return float(place[0]), float(place[1]), float(np.arctan2(ahead[0], -ahead[1]))
