"""The forecourt: concrete, joints, oil stains, markings, and the shadows and light pools on it.

Painted in plan at PIXELS_PER_M and laid under the camera by the exact ground homography.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Array
from .canvas import Canvas
from .car import Car
from .light import Light

PIXELS_PER_M = 20
X_M = (-22.0, 22.0)
Y_M = (1.0, 52.0)
SIZE = (int((X_M[1] - X_M[0]) * PIXELS_PER_M), int((Y_M[1] - Y_M[0]) * PIXELS_PER_M))


def plan(points: Array) -> Array:
    """Ground points (..., 2) in metres to plan pixels."""
    return np.asarray((points[..., :2] - [X_M[0], Y_M[0]]) * PIXELS_PER_M)


def value_noise(
    rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, ...]
) -> NDArray[np.float32]:
    """Smooth noise (height, width) around 0, one octave per entry of `cells`."""
    total = np.zeros((size[1], size[0]), np.float32)
    for octave, n in enumerate(cells):
        coarse = rng.standard_normal((n, n)).astype(np.float32)
        total += cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR) * 0.6**octave
    return total


_rng = np.random.default_rng(11)
_GRAIN = np.asarray(
    1
    + 0.025 * _rng.standard_normal((SIZE[1] + 200, SIZE[0] + 200))
    + 0.02 * value_noise(_rng, (SIZE[0] + 200, SIZE[1] + 200), (300, 500)),
    np.float32,
)


@dataclass
class Ground:
    """The plan of one station: `base` is its colour without cars, float32 (H, W, 3) BGR."""

    base: NDArray[np.float32]
    light: Light

    def lay(self, canvas: Canvas, cars: list[Car]) -> None:
        """Paints the ground, with the cars' shadows and headlamps on it, up to the horizon."""
        ground = self._lit(cars)
        h, w = canvas.buffer.shape[:2]
        to_metres = np.array([[1 / PIXELS_PER_M, 0, X_M[0]], [0, 1 / PIXELS_PER_M, Y_M[0]], [0, 0, 1]])
        matrix = np.diag([canvas.scale, canvas.scale, 1]) @ canvas.camera.ground_homography() @ to_metres
        picture = np.full((h, w, 3), ground[-1].mean(axis=0), np.uint8)
        cv2.warpPerspective(
            ground, matrix, (w, h), dst=picture, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )
        canvas.buffer[..., :3] = picture

    def _lit(self, cars: list[Car]) -> NDArray[np.uint8]:
        factor = self._light_map(cars)
        return np.asarray(cv2.multiply(self.base, cv2.merge([factor] * 3), dtype=cv2.CV_8U))

    def _light_map(self, cars: list[Car]) -> NDArray[np.float32]:
        """Factor per plan pixel: contact and sun shadows darken, headlamps brighten."""
        scale = 4
        size = (SIZE[0] // scale, SIZE[1] // scale)
        contact = np.zeros((size[1], size[0]), np.uint8)
        cast = np.zeros_like(contact)
        beam = np.zeros_like(contact)
        sun = np.array(self.light.sun)
        for car in cars:
            cv2.fillConvexPoly(contact, np.round(plan(car.outline(0.05)) / scale).astype(np.int32), 255)
            hull = car.hull()
            fallen = hull[:, :2] - sun[:2] / sun[2] * hull[:, 2:]
            outline = cv2.convexHull(np.round(plan(fallen) / scale).astype(np.int32))
            cv2.fillConvexPoly(cast, outline, 255)
            if car.lamps > 0.2:
                ahead = np.array([[-0.9, -3, 0], [0.9, -3, 0], [2.2, -8, 0], [-2.2, -8, 0.0]])
                cv2.fillConvexPoly(beam, np.round(plan(car.world(ahead)) / scale).astype(np.int32), 255)
        strength = max(self.light.sun_colour) * 0.85
        factor = 1 - 0.62 * cv2.GaussianBlur(contact, (0, 0), 1.6).astype(np.float32) / 255
        factor *= 1 - strength * cv2.GaussianBlur(cast, (0, 0), 1.0).astype(np.float32) / 255
        factor += (
            (0.75 if self.light.name == "night" else 0.3)
            * self.light.lamps
            * (cv2.GaussianBlur(beam, (0, 0), 5.0).astype(np.float32) / 255)
        )
        return np.asarray(cv2.resize(factor, SIZE, interpolation=cv2.INTER_LINEAR))


def make_ground(
    rng: np.random.Generator, light: Light, islands: list[float], canopy: tuple[float, ...]
) -> Ground:
    """The forecourt of a station with pump islands at the given x in metres."""
    tone = np.array([132.0, 136, 138]) * rng.uniform(0.86, 1.12) + rng.uniform(-5, 5, 3)
    base = cv2.merge([_speckle(rng) * float(c) for c in tone])
    for _ in range(int(rng.integers(10, 24))):
        _stain(rng, base)
    for k in range(0, SIZE[0], PIXELS_PER_M * 5):
        base[:, k : k + 1] *= 0.82
    for k in range(0, SIZE[1], PIXELS_PER_M * 5):
        base[k : k + 1] *= 0.82
    _markings(rng, base, islands, canopy)
    base *= np.array(light.ambient, np.float32) * 1.15 + np.array(light.sun_colour, np.float32) * 0.75
    x1, y1, x2, y2 = canopy
    roof = np.zeros(SIZE[::-1], np.uint8)
    tilt = np.array(light.sun)[:2] / light.sun[2] * 4.9
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - tilt
    cv2.fillConvexPoly(roof, np.round(plan(corners)).astype(np.int32), 255)
    shadow = 0.75 * max(light.sun_colour) * (1 - 0.4 * light.canopy_glow)
    factor = 1 - shadow * _softened(roof, 6)
    if light.name == "night":
        factor *= 0.35 + 0.85 * _softened(roof, 40)
    base *= cv2.merge([factor, factor, factor])
    if light.wet:
        _puddles(rng, base, light)
    return Ground(base, light)


def _speckle(rng: np.random.Generator) -> NDArray[np.float32]:
    """Concrete's grain around 1: one fixed texture, turned and shifted."""
    y, x = (int(k) for k in rng.integers(0, 200, 2))
    cut = _GRAIN[y : y + SIZE[1], x : x + SIZE[0]]
    if rng.random() < 0.5:
        cut = cut[::-1]
    return np.asarray(cut + value_noise(rng, SIZE, (12, 40)) * 0.03, np.float32)


def _softened(mask: NDArray[np.uint8], sigma_px: float) -> NDArray[np.float32]:
    """A blurred mask 0-1, blurred small because nothing of it is fine."""
    small = cv2.resize(mask, (mask.shape[1] // 4, mask.shape[0] // 4), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), sigma_px / 4)
    return np.asarray(cv2.resize(blurred, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_LINEAR))


def _stain(rng: np.random.Generator, base: NDArray[np.float32]) -> None:
    x, y = int(rng.integers(SIZE[0])), int(rng.integers(20, SIZE[1] - 20))
    r = int(rng.integers(6, 26))
    y1, y2, x1, x2 = max(0, y - 2 * r), y + 2 * r, max(0, x - 2 * r), x + 2 * r
    patch = base[y1:y2, x1:x2]
    mask = np.zeros(patch.shape[:2], np.float32)
    cv2.ellipse(mask, (x - x1, y - y1), (r, max(3, r // 2)), float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    patch *= 1 - float(rng.uniform(0.08, 0.3)) * cv2.GaussianBlur(mask, (0, 0), r / 3)[..., None]


def _markings(
    rng: np.random.Generator, base: NDArray[np.float32], islands: list[float], canopy: tuple[float, ...]
) -> None:
    paint = np.array([210.0, 222, 224]) if rng.random() < 0.5 else np.array([60.0, 186, 226])
    fade = float(rng.uniform(0.55, 0.9))
    layer = np.zeros(SIZE[::-1], np.uint8)

    def line(a: tuple[float, float], b: tuple[float, float], width_m: float) -> None:
        p, q = plan(np.array([a, b]))
        cv2.line(layer, _point(p), _point(q), 255, max(1, round(width_m * PIXELS_PER_M)), cv2.LINE_AA)

    y1, y2 = canopy[1] + 1, canopy[3] - 1
    for x in islands:
        for side in (-1.0, 1.0):
            line((x + side * 0.85, y1 + 1.0), (x + side * 0.85, y2 - 1.0), 0.10)
            line((x + side * 3.2, y1), (x + side * 3.2, y2), 0.08)
    for x in [i + s * 2.0 for i in islands for s in (-1, 1)]:
        y = y1 - 1.0
        line((x, y + 1.6), (x, y + 0.4), 0.16)
        tip = plan(np.array([[x - 0.35, y + 0.5], [x + 0.35, y + 0.5], [x, y - 0.5]]))
        cv2.fillConvexPoly(layer, np.round(tip).astype(np.int32), 255)
    line((X_M[0], y2 + 7), (X_M[1], y2 + 7), 0.14)
    painted = layer > 0
    worn = layer[painted].astype(np.float32)[:, None] / 255 * fade
    base[painted] = base[painted] * (1 - worn) + worn * paint.astype(np.float32)


def _puddles(rng: np.random.Generator, base: NDArray[np.float32], light: Light) -> None:
    field_ = value_noise(rng, SIZE, (10, 34))
    wet = np.clip((field_ - 0.1) * 1.6, 0, 1) * np.float32(0.55 * light.wet)
    base *= cv2.merge([1 - wet * 0.6] * 3)
    base += cv2.merge([wet * (c * 0.42) for c in light.horizon])


def _point(p: Array) -> tuple[int, int]:
    return round(float(p[0])), round(float(p[1]))
