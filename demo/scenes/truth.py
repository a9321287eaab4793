"""What is really in a picture, read off the id buffer.

A car counts as *visible* when at least MIN_VISIBLE of it can be seen, it is at least MIN_WIDTH of the
picture wide, and its front face can be seen: those are the cars that the demo must find and name.
A car of which less can be seen is neither asked for nor held against whoever finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .car import Car

MIN_VISIBLE = 0.60
MIN_WIDTH = 0.075
MIN_FRONT_VISIBLE = 0.60

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CarTruth:
    """One car: boxes are the extents of what can be seen of it, pixels xyxy; fractions 0-1."""

    brand: str
    body_type: str
    box: Box | None
    frontal: Box | None
    visible_fraction: float
    front_fraction: float
    picture_width: int

    @property
    def visible(self) -> bool:
        if self.box is None or self.frontal is None:
            return False
        wide = (self.box[2] - self.box[0]) / self.picture_width >= MIN_WIDTH
        return wide and self.visible_fraction >= MIN_VISIBLE and self.front_fraction >= MIN_FRONT_VISIBLE


@dataclass(frozen=True)
class Footprint:
    """Pixels of one car straight after it was painted, before anything came in front of it."""

    body: int
    front: int


def footprint(tags: NDArray[np.uint8], tag: int) -> Footprint:
    front = int(np.count_nonzero(tags == tag + 1))
    return Footprint(int(np.count_nonzero(tags == tag)) + front, front)


def truth_of(car: Car, tag: int, tags: NDArray[np.uint8], whole: Footprint, camera: Camera) -> CarTruth:
    """The truth about one car from the finished id buffer (any supersampling)."""
    scale = tags.shape[1] / camera.size[0]
    seen = (tags == tag) | (tags == tag + 1)
    front = tags == tag + 1
    inside = _inside_fraction(camera, camera.project(car.hull()))
    corners = car.world(car.shape.front(np.array([-0.9, 0.9, 0.9, -0.9]), np.array([0.0, 0.0, 1.0, 1.0])))
    front_inside = _inside_fraction(camera, camera.project(corners))
    return CarTruth(
        brand=car.brand,
        body_type=car.body_type,
        box=_extent(seen, scale),
        frontal=_extent(front, scale),
        visible_fraction=inside * int(np.count_nonzero(seen)) / max(1, whole.body),
        front_fraction=front_inside * int(np.count_nonzero(front)) / max(1, whole.front),
        picture_width=camera.size[0],
    )


def _extent(mask: NDArray[np.bool_], scale: float) -> Box | None:
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    if w < 2 or h < 2:
        return None
    return x / scale, y / scale, (x + w) / scale, (y + h) / scale


def _inside_fraction(camera: Camera, projected: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """How much of a convex outline lies in the picture."""
    pixels, depth = projected
    if (depth <= 0.5).any():
        return 0.0
    hull = cv2.convexHull(pixels.astype(np.float32))
    width, height = camera.size
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area = cv2.contourArea(hull)
    if area < 1:
        return 0.0
    common, _ = cv2.intersectConvexConvex(hull, frame)
    return float(min(1.0, common / area))
