"""Rendered stations whose cars carry plates of a type, with the truth about the plates.

Which seeds are for what is told here too: the ranges are disjoint, no picture that trains ever measures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.scenes import CarTruth
from demo.scenes.brands import PLATE_V
from demo.scenes.camera import Camera
from demo.scenes.car import Car
from demo.scenes.plate import HALF_V, HALF_WIDTH_M, PLATE_TYPES
from demo.scenes.scene import sample_cars, sample_people, sample_stage
from demo.scenes.truth import Box

TRAINING = range(6_000_000, 6_000_560)
VALIDATION = range(7_000_000, 7_000_120)
EVALUATION = range(8_000_000, 8_001_000)
SHIPPED = range(9_000_000, 9_001_000)

FRAME_SIZE = (1280, 720)
LEAST_VISIBLE = 0.9
LEAST_WIDTH_PX = 32.0


@dataclass(frozen=True)
class PlateTruth:
    """A plate: its extent in the picture, pixels xyxy, and how much of it can be seen, 0-1."""

    plate_type: str
    box: Box
    visible_fraction: float

    @property
    def legible(self) -> bool:
        """Whether its type must be told: seen nearly whole, and near enough."""
        return self.visible_fraction >= LEAST_VISIBLE and self.box[2] - self.box[0] >= LEAST_WIDTH_PX


@dataclass(frozen=True)
class PlateScene:
    """`image` uint8 HxWx3 BGR; `plates` has an entry per car, None where its plate is not in the picture."""

    image: NDArray[np.uint8]
    cars: list[CarTruth]
    plates: list[PlateTruth | None]


def render(seed: int, size: tuple[int, int] = FRAME_SIZE) -> PlateScene:
    """The picture that belongs to a seed; the same seed and size give the same bytes."""
    rng = np.random.default_rng(seed)
    stage = sample_stage(rng, size)
    cars = [
        replace(car, plate_type=PLATE_TYPES[rng.integers(len(PLATE_TYPES))])
        for car in sample_cars(rng, stage)
    ]
    scene = stage.shoot(cars, sample_people(rng, cars), seed)
    plates = [_truth(car, 2 + 2 * k, scene.tags, stage.camera) for k, car in enumerate(cars)]
    return PlateScene(scene.image, scene.cars, plates)


def _truth(car: Car, front_tag: int, tags: NDArray[np.uint8], camera: Camera) -> PlateTruth | None:
    """Where a car's plate is: its projected outline against the id buffer (any supersampling)."""
    half_u, v = HALF_WIDTH_M / car.shape.half_width, PLATE_V[car.brand]
    us = np.array([-half_u, half_u, half_u, -half_u])
    outline = car.world(car.shape.front(us, np.array([v - HALF_V, v - HALF_V, v + HALF_V, v + HALF_V])))
    pixels, depth = camera.project(outline)
    width, height = camera.size
    (x1, y1), (x2, y2) = pixels.min(axis=0), pixels.max(axis=0)
    clipped = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    if (depth <= 1).any() or clipped[2] - clipped[0] < 2 or clipped[3] - clipped[1] < 2:
        return None
    scale = tags.shape[1] / width
    mask = np.zeros(tags.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.round(pixels * scale).astype(np.int32), 1)
    covered = int(np.count_nonzero((tags == front_tag) & (mask > 0)))
    whole = cv2.contourArea((pixels * scale).astype(np.float32))
    if car.plate_type is None or covered == 0:
        return None
    box = (float(clipped[0]), float(clipped[1]), float(clipped[2]), float(clipped[3]))
    return PlateTruth(car.plate_type, box, min(1.0, covered / max(1.0, whole)))
