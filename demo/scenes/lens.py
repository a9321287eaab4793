"""What a camera does to a picture: glare, rain, blur, exposure, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Array, Camera
from .car import Car
from .light import Light

Image = NDArray[np.uint8]

_GRAIN = np.random.default_rng(7).standard_normal((900, 1500)).astype(np.float32)


@dataclass(frozen=True)
class Lens:
    """Strengths of one camera's flaws. `blur_px` and `noise` are for a picture 640 px wide."""

    blur_px: float = 0.0
    exposure: float = 1.0
    noise: float = 1.5
    jpeg_quality: int | None = None
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    rain: float = 0.0

    def expose(self, image: Image, camera: Camera, light: Light, cars: list[Car], seed: int) -> Image:
        """The picture as the camera delivers it, uint8 HxWx3 BGR."""
        width = image.shape[1]
        _glare(image, camera, light, cars)
        if self.rain:
            image = _rain(image, self.rain, seed)
        sigma = self.blur_px * width / 640
        if sigma > 0.25:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
        gain = np.array(self.tint) * self.exposure * self.contrast
        levels = np.arange(256)[:, None] * gain + 128 * (1 - self.contrast)
        image = np.asarray(
            cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8).reshape(1, 256, 3)), np.uint8
        )
        if self.noise:
            image = self._grained(image, seed)
        if self.jpeg_quality is not None:
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return image

    def _grained(self, image: Image, seed: int) -> Image:
        h, w = image.shape[:2]
        rng = np.random.default_rng(seed)
        y, x = int(rng.integers(900 - min(h, 800))), int(rng.integers(1500 - min(w, 1400)))
        grain = np.ascontiguousarray(_GRAIN[y : y + h, x : x + w])
        if grain.shape != (h, w):
            grain = cv2.resize(_GRAIN, (w, h))
        layer = cv2.convertScaleAbs(grain, alpha=self.noise * 1.0)
        sign = cv2.merge([np.where(grain > 0, layer, 0).astype(np.uint8)] * 3)
        minus = cv2.merge([np.where(grain < 0, layer, 0).astype(np.uint8)] * 3)
        return np.asarray(cv2.subtract(cv2.add(image, sign), minus), np.uint8)


def sample_lens(rng: np.random.Generator, light: Light) -> Lens:
    """A camera somewhere between good and poor."""
    dark = light.name in ("night", "dusk")
    return Lens(
        blur_px=float(max(0.0, rng.normal(0.25, 0.3))),
        exposure=float(rng.uniform(0.8, 1.2)),
        noise=float(rng.uniform(0.5, 7.0 if dark else 4.0)),
        jpeg_quality=int(rng.integers(38, 96)) if rng.random() < 0.8 else None,
        tint=(float(rng.uniform(0.93, 1.07)), 1.0, float(rng.uniform(0.93, 1.07))),
        contrast=float(rng.uniform(0.82, 1.12)),
        rain=float(rng.uniform(0.3, 1.0)) if light.name == "rain" else 0.0,
    )


def _glare(image: Image, camera: Camera, light: Light, cars: list[Car]) -> None:
    """Halos around lamps that shine at the camera."""
    for car in cars:
        if car.lamps < 0.2:
            continue
        points: Array = car.lamp_points()
        pixels, depth = camera.project(points)
        ahead = camera.eye[:2] - np.array([car.x, car.y])
        facing = float(np.dot(ahead / np.linalg.norm(ahead), [np.sin(car.yaw), -np.cos(car.yaw)]))
        if facing < 0.3:
            continue
        for (x, y), z in zip(pixels, depth, strict=True):
            if z > 1:
                radius = 0.55 * camera.focal_px / float(z)
                _halo(
                    image,
                    float(x),
                    float(y),
                    radius,
                    (95 if light.name == "night" else 50) * car.lamps * facing,
                )


def _halo(image: Image, x: float, y: float, radius: float, strength: float) -> None:
    r = int(radius * 2)
    x1, y1 = max(0, int(x) - r), max(0, int(y) - r)
    x2, y2 = min(image.shape[1], int(x) + r), min(image.shape[0], int(y) + r)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    d2 = (np.arange(x1, x2)[None] - x) ** 2 + (np.arange(y1, y2)[:, None] - y) ** 2
    glow = np.exp(-d2 / (2 * (radius / 2) ** 2)) * strength
    image[y1:y2, x1:x2] = cv2.add(image[y1:y2, x1:x2], np.repeat(glow[..., None], 3, axis=2).astype(np.uint8))


def _rain(image: Image, strength: float, seed: int) -> Image:
    """Falling streaks, and the veil that they draw over what is far."""
    h, w = image.shape[:2]
    rng = np.random.default_rng(seed)
    streaks = np.zeros((h, w), np.uint8)
    length = h * 0.05
    for x, y, f in rng.uniform(0, 1, (int(220 * strength), 3)):
        a = (int(x * w), int(y * h))
        b = (int(x * w + length * 0.12), int(y * h + length * (0.5 + f)))
        cv2.line(streaks, a, b, int(60 + 70 * f), max(1, w // 900), cv2.LINE_AA)
    streaks = np.asarray(cv2.GaussianBlur(streaks, (0, 0), 0.6 * w / 640), np.uint8)
    veil = cv2.convertScaleAbs(image, alpha=1 - 0.10 * strength, beta=16 * strength)
    return np.asarray(cv2.add(veil, cv2.cvtColor(streaks // 2, cv2.COLOR_GRAY2BGR)), np.uint8)
