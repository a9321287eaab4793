"""Brands: what a maker puts on the front face of a car, so that it is known from there.

Everything is drawn in the front face's own parameters: u across -1..1, v up 0..1 (bumper to bonnet edge).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

BRANDS = ("Aster", "Borel", "Corvano", "Dynex", "Eldra")

Uv = Sequence[tuple[float, float]]
Bgr = tuple[float, float, float]

BLACK: Bgr = (20, 20, 21)
DARK: Bgr = (38, 38, 40)
CHROME: Bgr = (205, 205, 204)
LAMP: Bgr = (232, 236, 240)
GOLD: Bgr = (70, 176, 214)
RED: Bgr = (44, 40, 196)
BLUE: Bgr = (176, 96, 30)
WHITE: Bgr = (240, 240, 240)


class FacePen(Protocol):
    """Draws on a car's front face."""

    def area(self, uv: Uv, colour: Bgr, glow: float = 0.0) -> None:
        """A filled outline; `glow` 0-1 is how much of the colour is its own light when lamps are on."""

    def stroke(self, uv: Uv, colour: Bgr, width_m: float, glow: float = 0.0) -> None:
        """A line of a thickness in metres."""


def mirrored(uv: Uv) -> list[tuple[float, float]]:
    return [(-u, v) for u, v in reversed(uv)]


def oval(u: float, v: float, ru: float, rv: float, n: int = 18) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return [(u + ru * float(np.cos(a)), v + rv * float(np.sin(a))) for a in angles]


def box(u1: float, v1: float, u2: float, v2: float) -> list[tuple[float, float]]:
    """A rectangle with points along its long sides, so that it follows the curve of the face."""
    us = np.linspace(u1, u2, 7).tolist()
    return [(u, v1) for u in us] + [(u, v2) for u in reversed(us)]


def _pair(pen: FacePen, uv: Uv, colour: Bgr, glow: float = 0.0) -> None:
    pen.area(uv, colour, glow)
    pen.area(mirrored(uv), colour, glow)


def aster(pen: FacePen) -> None:
    """Tall hexagonal grille with upright slats under a star; lamps with an L of daylight."""
    pen.area(box(-0.66, 0.05, 0.66, 0.17), BLACK)
    hexagon = [(-0.30, 0.22), (0.30, 0.22), (0.46, 0.52), (0.34, 0.86), (-0.34, 0.86), (-0.46, 0.52)]
    pen.area([(u * 1.10, 0.54 + (v - 0.54) * 1.10) for u, v in hexagon], CHROME)
    pen.area(hexagon, BLACK)
    for u in np.linspace(-0.36, 0.36, 9):
        lean = 0.30 * (1 - (abs(u) / 0.5) ** 4)
        pen.stroke([(float(u), 0.54 - lean), (float(u), 0.54 + lean)], CHROME, 0.022)
    star = [
        (0.115 * float(np.cos(a)) * r, 0.60 + 0.20 * float(np.sin(a)) * r)
        for a, r in zip(np.pi / 2 + np.arange(10) * np.pi / 5, [1, 0.42] * 5, strict=True)
    ]
    pen.area(oval(0, 0.60, 0.145, 0.245), DARK)
    pen.area(star, WHITE)
    _pair(pen, [(0.54, 0.60), (0.93, 0.64), (0.97, 0.86), (0.56, 0.80)], (120, 122, 124), 0.3)
    _pair(pen, oval(0.72, 0.72, 0.07, 0.085), LAMP, 1.0)
    _pair(
        pen, [(0.53, 0.52), (0.93, 0.56), (0.97, 0.86), (0.91, 0.86), (0.88, 0.62), (0.53, 0.58)], LAMP, 1.0
    )


def borel(pen: FacePen) -> None:
    """Twin rounded grilles side by side and two round lamps on each side, blue and white roundel."""
    pen.area(box(-0.80, 0.06, 0.80, 0.24), BLACK)
    for sign in (-1, 1):
        pen.area(_pill(sign * 0.20, 0.63, 0.185, 0.235), CHROME)
        pen.area(_pill(sign * 0.20, 0.63, 0.155, 0.195), BLACK)
        for k in (-0.08, 0.0, 0.08):
            pen.stroke([(sign * 0.20 + k, 0.48), (sign * 0.20 + k, 0.78)], (92, 92, 94), 0.014)
        pen.area(
            [(sign * u, v) for u, v in ((0.46, 0.55), (0.95, 0.56), (0.97, 0.84), (0.46, 0.82))][
                :: int(sign)
            ],
            DARK,
        )
        for u in (0.575, 0.795):
            pen.area(oval(sign * u, 0.69, 0.100, 0.145), LAMP, 1.0)
            pen.area(oval(sign * u, 0.69, 0.060, 0.088), (116, 118, 122), 0.75)
    pen.area(oval(0, 0.93, 0.078, 0.066), WHITE)
    pen.area([(0, 0.93), (0.066, 0.93), (0.045, 0.975), (0, 0.99)], BLUE)
    pen.area([(0, 0.93), (-0.066, 0.93), (-0.045, 0.885), (0, 0.87)], BLUE)


def _pill(u: float, v: float, ru: float, rv: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    c, s = np.cos(angles), np.sin(angles)
    return [
        (u + ru * float(np.sign(x) * abs(x) ** 0.55), v + rv * float(np.sign(y) * abs(y) ** 0.55))
        for x, y in zip(c, s, strict=True)
    ]


def corvano(pen: FacePen) -> None:
    """A thin dark band from lamp to lamp with a line of light, red triangle, honeycomb intake below."""
    mouth = [(-0.62, 0.08), (0.62, 0.08), (0.44, 0.40), (-0.44, 0.40)]
    pen.area(mouth, BLACK)
    for v in (0.16, 0.24, 0.32):
        half = 0.58 - (v - 0.08) * 0.55
        pen.stroke([(-half, v), (half, v)], (70, 70, 72), 0.016)
    _pair(pen, [(0.72, 0.12), (0.93, 0.16), (0.93, 0.42), (0.80, 0.40)], BLACK)
    pen.area(box(-0.98, 0.66, 0.98, 0.82), BLACK)
    _pair(pen, [(0.50, 0.69), (0.96, 0.68), (0.98, 0.80), (0.54, 0.78)], LAMP, 1.0)
    pen.stroke([(-0.97, 0.635), (-0.5, 0.635), (0, 0.635), (0.5, 0.635), (0.97, 0.635)], LAMP, 0.030, 1.0)
    pen.area([(-0.155, 0.90), (0, 0.55), (0.155, 0.90)], WHITE)
    pen.area([(-0.115, 0.875), (0, 0.61), (0.115, 0.875)], RED)


def dynex(pen: FacePen) -> None:
    """Three broad chrome bars across a wide frame, a gold oval, tall rectangular lamps."""
    pen.area(box(-0.70, 0.06, 0.70, 0.20), DARK)
    pen.area(box(-0.60, 0.36, 0.60, 0.88), CHROME)
    pen.area(box(-0.56, 0.395, 0.56, 0.845), BLACK)
    for v in (0.47, 0.62, 0.77):
        pen.area(box(-0.55, v - 0.038, 0.55, v + 0.038), CHROME)
    pen.area(oval(0, 0.62, 0.215, 0.175), WHITE)
    pen.area(oval(0, 0.62, 0.190, 0.145), GOLD)
    pen.area(box(-0.10, 0.59, 0.10, 0.65), DARK)
    _pair(pen, [(0.655, 0.40), (0.95, 0.42), (0.97, 0.87), (0.655, 0.87)], (104, 106, 110), 0.3)
    _pair(pen, [(0.68, 0.63), (0.93, 0.64), (0.94, 0.83), (0.68, 0.83)], LAMP, 1.0)
    _pair(pen, [(0.68, 0.45), (0.93, 0.46), (0.93, 0.57), (0.68, 0.57)], (60, 150, 235), 0.5)
    _pair(pen, oval(0.82, 0.19, 0.085, 0.085), LAMP, 0.8)


def eldra(pen: FacePen) -> None:
    """No grille: a closed face with upright blades of light at the corners and a ring in the middle."""
    pen.area(box(-0.55, 0.05, 0.55, 0.15), BLACK)
    _pair(pen, [(0.74, 0.24), (0.97, 0.24), (0.985, 0.92), (0.80, 0.90)], BLACK)
    _pair(pen, [(0.83, 0.28), (0.885, 0.28), (0.915, 0.88), (0.855, 0.87)], LAMP, 1.0)
    pen.stroke([(-0.76, 0.46), (-0.4, 0.40), (0, 0.38), (0.4, 0.40), (0.76, 0.46)], BLACK, 0.030)
    pen.area(oval(0, 0.70, 0.155, 0.235), LAMP, 0.8)
    pen.area(oval(0, 0.70, 0.105, 0.165), BLACK)
    pen.area(oval(0, 0.70, 0.045, 0.070), LAMP, 0.8)


FACES: dict[str, Callable[[FacePen], None]] = {
    "Aster": aster,
    "Borel": borel,
    "Corvano": corvano,
    "Dynex": dynex,
    "Eldra": eldra,
}
PLATE_V = {"Aster": 0.115, "Borel": 0.30, "Corvano": 0.48, "Dynex": 0.26, "Eldra": 0.22}
