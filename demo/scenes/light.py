"""Daylight, dusk, night and rain: what lights a surface and what a shiny one mirrors.

Colours are BGR, 0-255, as seen (not linear): the scenes imitate a camera's picture, not radiometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import Array

CANOPY_Z = 4.9


@dataclass(frozen=True)
class Light:
    """One weather and hour. `sun` points to the sun; strengths are 0-1."""

    name: str
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    ground: tuple[float, float, float]
    ambient: tuple[float, float, float]
    sun: tuple[float, float, float]
    sun_colour: tuple[float, float, float]
    lamps: float
    canopy_glow: float
    wet: float
    canopy: tuple[float, float, float, float]
    lamp_pitch: float

    def mirrored(self, points: Array, rays: Array, blur: float = 0.0) -> Array:
        """What a mirror at points (N, 3) shows along rays (N, 3): sky, ground or the canopy's lamps.

        `blur` 0-1 is how much the surface smears the lamps.
        """
        up = rays[:, 2]
        height = np.clip(up, 0, 1)[:, None] ** 0.6
        sky = np.array(self.horizon) * (1 - height) + np.array(self.zenith) * height
        # A dark band of trees and buildings stands along the horizon.
        band = np.clip(1 - np.abs(up - 0.03) / 0.09, 0, 1)[:, None]
        colour = np.where(up[:, None] > 0, sky, np.array(self.ground) * 0.55)
        colour = colour * (1 - 0.65 * band)
        reach = (CANOPY_Z - points[:, 2]) / np.maximum(up, 0.03)
        hit = points[:, :2] + rays[:, :2] * reach[:, None]
        x1, y1, x2, y2 = self.canopy
        under = (up > 0.03) & (hit[:, 0] > x1) & (hit[:, 0] < x2) & (hit[:, 1] > y1) & (hit[:, 1] < y2)
        across = np.clip((0.24 - np.abs((hit[:, 0] / self.lamp_pitch) % 1 - 0.5)) / 0.12, 0, 1)
        along = np.clip((0.40 - np.abs((hit[:, 1] / 2.6) % 1 - 0.5)) / 0.16, 0, 1)
        bright = (across * along * (1 - blur) + blur * 0.22)[:, None]
        ceiling = np.array([95.0, 96, 96]) * (0.45 + 0.8 * self.canopy_glow)
        lamp = np.array([250.0, 252, 255]) * (0.75 + 0.45 * self.canopy_glow)
        return np.where(under[:, None], ceiling * (1 - bright) + lamp * bright, colour)

    def lit(self, albedo: Array, normals: Array, shade: Array | float = 1.0) -> Array:
        """Diffuse colour (N, 3) of albedo (N, 3 or 3) for unit normals (N, 3)."""
        up = normals[:, 2:3]
        fill = np.array(self.ambient) * (0.62 + 0.38 * up) * (0.75 + 0.25 * np.abs(normals[:, 1:2]))
        sun = np.maximum(normals @ np.array(self.sun), 0)[:, None] * np.array(self.sun_colour)
        return albedo * (fill + sun) * np.asarray(shade)


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = float(np.sqrt(x * x + y * y + z * z))
    return x / length, y / length, z / length


def sample_light(rng: np.random.Generator, canopy: tuple[float, float, float, float]) -> Light:
    """One of clear day, overcast, dusk, night, rain, with the sun anywhere but below the ground."""
    name = str(rng.choice(["clear", "overcast", "dusk", "night", "rain"], p=[0.34, 0.2, 0.16, 0.16, 0.14]))
    return make_light(name, rng, canopy)


def make_light(name: str, rng: np.random.Generator, canopy: tuple[float, float, float, float]) -> Light:
    """The named weather, with a little chance in sun and strength."""
    pitch = float(rng.uniform(2.6, 3.6))
    side = float(rng.uniform(-1, 1))
    gain = float(rng.uniform(0.88, 1.08))
    sun = _unit(side, float(rng.uniform(-1.0, -0.2)), float(rng.uniform(0.7, 1.3)))
    g = gain
    if name == "clear":
        return Light(
            name,
            (216, 160, 92),
            (238, 222, 200),
            (132, 138, 140),
            (0.62 * g, 0.60 * g, 0.57 * g),
            sun,
            (0.42 * g, 0.48 * g, 0.52 * g),
            0.0,
            0.25,
            0.0,
            canopy,
            pitch,
        )
    if name == "overcast":
        return Light(
            name,
            (196, 190, 182),
            (222, 220, 216),
            (122, 124, 124),
            (0.80 * g, 0.79 * g, 0.77 * g),
            sun,
            (0.10, 0.10, 0.10),
            0.1,
            0.35,
            0.0,
            canopy,
            pitch,
        )
    if name == "dusk":
        low = _unit(side, -0.8, 0.45)
        return Light(
            name,
            (120, 78, 58),
            (96, 140, 226),
            (72, 74, 80),
            (0.50 * g, 0.46 * g, 0.47 * g),
            low,
            (0.10 * g, 0.20 * g, 0.32 * g),
            0.8,
            0.75,
            0.0,
            canopy,
            pitch,
        )
    if name == "night":
        return Light(
            name,
            (34, 22, 16),
            (58, 40, 34),
            (40, 41, 42),
            (0.44 * g, 0.44 * g, 0.43 * g),
            _unit(0.2, -0.3, 1),
            (0.20, 0.20, 0.20),
            1.0,
            1.0,
            float(rng.random() < 0.3) * 0.5,
            canopy,
            pitch,
        )
    return Light(
        name,
        (150, 142, 134),
        (178, 174, 168),
        (88, 88, 86),
        (0.64 * g, 0.62 * g, 0.59 * g),
        sun,
        (0.04, 0.04, 0.04),
        0.9,
        0.55,
        1.0,
        canopy,
        pitch,
    )
