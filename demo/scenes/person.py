"""People on the forecourt, who stand in the way as people do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .light import Light


@dataclass(frozen=True)
class Person:
    """Where someone stands (metres) and what makes them look different from the next."""

    x: float
    y: float
    look: int

    def paint(self, canvas: Canvas, light: Light, tag: int) -> None:
        rng = np.random.default_rng(self.look)
        h = float(rng.uniform(1.58, 1.88))
        lit = np.array(light.ambient) * 1.05 + np.array(light.sun_colour) * 0.4
        coat = (rng.uniform(30, 210, 3) * lit).tolist()
        jeans = (np.array([92, 66, 50]) * rng.uniform(0.5, 1.2) * lit).tolist()
        skin = (np.array([120, 150, 196]) * rng.uniform(0.55, 1.1) * lit).tolist()
        hair = (np.array([30, 38, 50]) * rng.uniform(0.6, 2) * lit).tolist()
        step = float(rng.uniform(0.05, 0.22))
        base = np.array([self.x, self.y, 0.0])

        def limb(points: list[tuple[float, float]], colour: list[float], width: float) -> None:
            canvas.line(np.array([base + np.array([x, 0, z * h]) for x, z in points]), colour, width, tag)

        for sign in (-1, 1):
            limb(
                [
                    (0.06 * sign, 0.50),
                    (0.09 * sign + step / 2 * sign, 0.26),
                    (0.08 * sign + step * sign, 0.02),
                ],
                jeans,
                0.15,
            )
        limb([(0, 0.52), (0, 0.80)], coat, 0.36)
        for sign in (-1, 1):
            limb([(0.19 * sign, 0.79), (0.25 * sign, 0.62), (0.22 * sign + step * 0.4, 0.47)], coat, 0.11)
        limb([(0, 0.82), (0, 0.86)], skin, 0.12)
        limb([(0, 0.92), (0, 0.925)], skin, 0.21)
        limb([(0, 0.955), (0, 0.965)], hair, 0.20)
