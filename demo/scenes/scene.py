"""One picture of a fuel station, with the truth about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .canvas import Canvas
from .car import Car, CarPainter, sample_car
from .ground import Ground, make_ground
from .lens import Lens, sample_lens
from .light import Light, sample_light
from .person import Person
from .station import Station, sample_station
from .truth import CarTruth, footprint, truth_of

Size = tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """`image` uint8 HxWx3 BGR; `tags` the id buffer, supersampled: 1 + 2k is car k, 2 + 2k its front face."""

    image: NDArray[np.uint8]
    cars: list[CarTruth]
    tags: NDArray[np.uint8]
    light: str


@dataclass(frozen=True)
class Stage:
    """A station under a light, seen by a camera: everything but the cars and people."""

    station: Station
    light: Light
    ground: Ground
    camera: Camera
    lens: Lens
    supersample: float

    def shoot(self, cars: list[Car], people: list[Person], seed: int) -> Scene:
        """Paints back to front; `seed` is this frame's noise."""
        canvas = Canvas(self.camera, self.supersample)
        self.ground.lay(canvas, cars)
        self.station.backdrop(canvas, self.light)
        self.station.roof(canvas, self.light)
        tags = [1 + 2 * k for k in range(len(cars))]
        wholes = [footprint(canvas.tags, 255)] * len(cars)

        def car_painter(k: int) -> Callable[[], None]:
            def paint() -> None:
                CarPainter(canvas, self.light, cars[k], tags[k]).paint()
                wholes[k] = footprint(canvas.tags, tags[k])

            return paint

        things: list[tuple[float, Callable[[], None]]] = []
        eye = self.camera.eye[:2]
        for k, car in enumerate(cars):
            things.append((float(np.hypot(*(np.array([car.x, car.y]) - eye))), car_painter(k)))
        for place, draw in self.station.standing():
            things.append((float(np.hypot(*(place - eye))), lambda draw=draw: draw(canvas, self.light, 0)))
        for who in people:
            place = np.array([who.x, who.y])
            things.append((float(np.hypot(*(place - eye))), lambda who=who: who.paint(canvas, self.light, 0)))
        for _, paint in sorted(things, key=lambda thing: -thing[0]):
            paint()
        truths = [
            truth_of(c, t, canvas.tags, w, self.camera) for c, t, w in zip(cars, tags, wholes, strict=True)
        ]
        image = self.lens.expose(canvas.picture(), self.camera, self.light, cars, seed)
        return Scene(image, truths, canvas.tags, self.light.name)


def supersampling(size: Size) -> float:
    """Small pictures need two samples across a pixel; large ones pay less for nearly the same edges."""
    return 2.0 if size[0] <= 800 else 1.5


def sample_camera(rng: np.random.Generator, size: Size) -> Camera:
    """A camera on a pole at the station's edge, looking at the pumps."""
    x, z = float(rng.uniform(-3.2, 3.2)), float(rng.uniform(2.7, 4.3))
    aim_x, aim_y = float(rng.uniform(-1.2, 1.2)), float(rng.uniform(11.0, 14.0))
    return Camera(
        position=(x, 0.0, z),
        pan_rad=float(np.arctan2(aim_x - x, aim_y)),
        tilt_rad=float(np.arctan2(z - 1.0, aim_y) + rng.uniform(-0.03, 0.03)),
        hfov_rad=float(np.radians(rng.uniform(46, 66))),
        size=size,
    )


def sample_stage(rng: np.random.Generator, size: Size) -> Stage:
    station = sample_station(rng)
    light = sample_light(rng, station.canopy)
    ground = make_ground(rng, light, station.islands, station.canopy)
    return Stage(
        station, light, ground, sample_camera(rng, size), sample_lens(rng, light), supersampling(size)
    )


def _too_close(car: Car, others: list[Car]) -> bool:
    """Whether two footprints could touch, taking cars as rows of three discs."""

    def discs(c: Car) -> NDArray[np.float64]:
        reach = c.shape.length * 0.33
        return np.array(
            [[c.x - k * reach * np.sin(c.yaw), c.y + k * reach * np.cos(c.yaw)] for k in (-1, 0, 1)]
        )

    mine = discs(car)
    return any(float(np.min(np.linalg.norm(mine[:, None] - discs(o)[None], axis=2))) < 2.15 for o in others)


def sample_cars(rng: np.random.Generator, stage: Stage) -> list[Car]:
    """None to five cars in the lanes beside the islands or rolling towards the camera."""
    cars: list[Car] = []
    islands = stage.station.islands
    wanted = int(rng.choice([0, 1, 2, 3, 4, 5], p=[0.05, 0.24, 0.30, 0.22, 0.13, 0.06]))
    for _ in range(wanted * 5):
        if len(cars) == wanted:
            break
        if rng.random() < 0.65:
            x = islands[int(rng.integers(2))] + float(rng.choice([-1, 1])) * float(rng.uniform(1.75, 2.3))
            y, yaw = float(rng.uniform(6.5, 19)), float(rng.normal(0, 0.10))
        else:
            x, y = float(rng.uniform(-7, 7)), float(rng.uniform(6.0, 19))
            yaw = float(np.clip(rng.normal(0, 0.45), -1.1, 1.1))
        if (
            min(abs(x - i) for i in islands) < 1.72 + 1.5 * abs(np.sin(yaw))
            and y > min(stage.station.pumps) - 4.2
        ):
            continue
        lamps = stage.light.lamps * float(rng.random() < 0.75)
        car = sample_car(rng, x, y, yaw, lamps)
        if not _too_close(car, cars):
            cars.append(car)
    return cars


def sample_people(rng: np.random.Generator, cars: list[Car]) -> list[Person]:
    people = []
    for car in cars:
        if rng.random() < 0.22:
            x = car.x + float(rng.uniform(-2.2, 2.2))
            y = car.y - car.shape.length / 2 - float(rng.uniform(0.4, 1.6)) if abs(x - car.x) < 1.2 else car.y
            people.append(Person(x, y, int(rng.integers(1 << 31))))
    if rng.random() < 0.3:
        people.append(
            Person(float(rng.uniform(-8, 8)), float(rng.uniform(9, 24)), int(rng.integers(1 << 31)))
        )
    return people


def render(seed: int, size: Size = (640, 360)) -> Scene:
    """The picture that belongs to a seed; the same seed and size give the same bytes."""
    rng = np.random.default_rng(seed)
    stage = sample_stage(rng, size)
    cars = sample_cars(rng, stage)
    return stage.shoot(cars, sample_people(rng, cars), seed)
