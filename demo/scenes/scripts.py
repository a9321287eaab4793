"""Seeded traffic: what drives where, so that cars hide each other as they do on a forecourt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .camera import Camera
from .car import sample_car
from .ground import make_ground
from .lens import sample_lens
from .light import make_light
from .scene import Size, Stage, supersampling
from .station import Station, sample_station
from .traffic import Drive, Point, Stop, Traffic, hits_island, swept, touches

LIGHTS = ("clear", "overcast", "dusk", "night", "rain")
SECONDS = 12.0
CARS = 7
TRIES = 80

Rng = np.random.Generator
Plan = tuple[tuple[Point, ...], tuple[Stop, ...]]
"""A way, and where on it the car waits."""


def sample_traffic(seed: int, size: Size = (640, 360), fps: int = 10) -> Traffic:
    """The clip that belongs to a seed: kinds and lights by turns, everything else by chance."""
    kinds = list(KINDS)
    kind, light_name = kinds[seed % len(kinds)], LIGHTS[seed // len(kinds) % len(LIGHTS)]
    rng = np.random.default_rng(seed)
    station = sample_station(rng)
    if kind == "crossing":
        station = _set_back(station, 13.0)
    if kind == "passing":
        station = replace(station, islands=[float(rng.choice([-1, 1])) * float(rng.uniform(4.0, 4.8))])
    light = make_light(light_name, rng, station.canopy)
    ground = make_ground(rng, light, station.islands, station.canopy)
    lens = sample_lens(rng, light)
    stage = Stage(station, light, ground, _camera(rng, kind, size), lens, supersampling(size))
    drives = _drives(rng, stage, KINDS[kind])
    return Traffic(f"{kind}-{light_name}-{seed}", seed, stage, tuple(drives), SECONDS, fps)


def _camera(rng: Rng, kind: str, size: Size) -> Camera:
    """At the station's edge; to one side of it where pumps shall hide cars, low where cars shall."""
    side = float(rng.choice([-1, 1]))
    x = side * float(rng.uniform(2.0, 3.2)) if kind == "pumps" else float(rng.uniform(-1, 1))
    z = float(rng.uniform(2.9, 4.0) if kind == "pumps" else rng.uniform(2.7, 3.2))
    aim_y = 13.0
    return Camera(
        position=(x, 0.0, z),
        pan_rad=float(np.arctan2(-0.6 * x, aim_y)),
        tilt_rad=float(np.arctan2(z - 1.0, aim_y)),
        hfov_rad=float(np.radians(rng.uniform(58, 66) if kind == "crossing" else rng.uniform(50, 60))),
        size=size,
    )


def _drives(rng: Rng, stage: Stage, plan: Callable[[Rng, Station], Plan]) -> list[Drive]:
    """Up to CARS drives that never touch; a proposal that does is thrown away."""
    drives: list[Drive] = []
    paths: list[np.ndarray] = []
    for _ in range(TRIES):
        if len(drives) == CARS:
            break
        way, stops = plan(rng, stage.station)
        lamps = stage.light.lamps * float(rng.random() < 0.85)
        start = float(rng.uniform(-3.0, SECONDS - 5.5))
        car = sample_car(rng, 0.0, 0.0, 0.0, lamps)
        waits = tuple(Stop(stop.at, start + stop.until_sec) for stop in stops)
        drive = Drive(car, way, start, float(rng.uniform(2.2, 4.5)), waits)
        path = swept(drive, SECONDS)
        if hits_island(path, stage) or any(touches(path, other) for other in paths):
            continue
        drives.append(drive)
        paths.append(path)
    return drives


def _crossing(rng: Rng, _: Station) -> Plan:
    """Aslant over the forecourt, from the far left to the near right or the other way; some wait midway."""
    side = float(rng.choice([-1, 1]))
    far, near = float(rng.uniform(4.5, 8.5)), float(rng.uniform(1.5, 5.0))
    way = tuple((side * (near - (near + far) * t), 4.0 + 16.0 * t) for t in (1.25, 1.0, 0.7, 0.4, 0.0, -0.4))
    stops = (Stop(int(rng.integers(1, 4)), float(rng.uniform(4.0, 7.5))),) if rng.random() < 0.5 else ()
    return way, stops


def _pumps(rng: Rng, station: Station) -> Plan:
    """In from the back, a stop at a pump, out past the camera."""
    lane = int(rng.integers(2 * len(station.islands)))
    x = _lane_x(station, lane)
    side = 1.0 if x > sum(station.islands) / len(station.islands) else -1.0
    stop_y = float(rng.uniform(8.5, 10.0) if rng.random() < 0.6 else rng.uniform(13.5, 15.0))
    way = ((x + side * 3.0, 27.0), (x + side * 1.0, 22.0), (x, 18.0), (x, stop_y), (x, 5.0), (x, -1.0))
    return way, (Stop(3, float(rng.uniform(4.5, 9.0))),)


def _queue(rng: Rng, station: Station) -> Plan:
    """One behind the other to the pumps of a lane, stop and go; some drive by in the lane beside it."""
    x = _lane_x(station, int(rng.choice([1, 2])))
    way = ((x, 27.0), (x, 20.0), (x, 15.0), (x, 9.2), (x, 4.0), (x, -1.0))
    if rng.random() < 0.3:
        return way, ()
    first = float(rng.uniform(3.0, 5.5))
    return way, (Stop(2, first), Stop(3, first + float(rng.uniform(3.5, 6.0))))


def _passing(rng: Rng, station: Station) -> Plan:
    """Across the open side of a station with one island, close before the cars that stand there."""
    island = station.islands[0]
    side = -1.0 if island > 0 else 1.0
    if rng.random() < 0.45:
        x = island + side * 2.1 if rng.random() < 0.7 else island - side * 2.1
        stop_y = float(rng.uniform(11.5, 15.5))
        way = ((x, 27.0), (x, 20.0), (x, stop_y), (x, 5.0), (x, -1.0))
        return way, (Stop(2, float(rng.uniform(6.0, 11.0))),)
    shift, far = float(rng.uniform(-1.5, 2.0)), float(rng.uniform(0.0, 2.0))
    way = tuple(
        (side * (x + shift), y + far)
        for x, y in ((7.6, 21.0), (5.0, 17.0), (1.7, 12.0), (-2.0, 6.5), (-5.6, 1.0))
    )
    stops = (Stop(int(rng.integers(1, 3)), float(rng.uniform(3.5, 6.0))),) if rng.random() < 0.4 else ()
    return way, stops


KINDS: dict[str, Callable[[Rng, Station], Plan]] = {
    "crossing": _crossing,
    "pumps": _pumps,
    "queue": _queue,
    "passing": _passing,
}


def _lane_x(station: Station, lane: int) -> float:
    """Lanes 0-3 from left to right, two beside each island."""
    return station.islands[lane // 2] + (-2.05, 2.05)[lane % 2]


def _set_back(station: Station, by: float) -> Station:
    """The same station further off, so that there is room before it."""
    x1, y1, x2, y2 = station.canopy
    return replace(
        station,
        pumps=[y + by for y in station.pumps],
        pillars=[y + by for y in station.pillars],
        canopy=(x1, y1 + by, x2, y2 + by),
        shop_y=station.shop_y + by,
    )
