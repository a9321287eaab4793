"""Number plates: types that are told by colours and layout, without any text.

Drawn in the front face's own parameters, as `brands` draws: u across -1..1, v up 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .brands import Bgr, FacePen

HALF_WIDTH_M = 0.235
HALF_V = 0.075
CHARACTERS = 7


@dataclass(frozen=True)
class Style:
    """Colours of a type; `bands` are its coloured parts, from and to as fractions of the width."""

    ground: Bgr
    ink: Bgr
    gap: int = 3
    bands: tuple[tuple[float, float, Bgr], ...] = ()


PRIVATE = Style((232, 236, 236), (50, 48, 46))
STYLES = {
    "private": PRIVATE,
    "commercial": Style(
        (24, 186, 240), (26, 26, 28), gap=1, bands=((0.05, 0.12, (22, 22, 24)), (0.88, 0.95, (22, 22, 24)))
    ),
    "electric": Style((62, 148, 40), (236, 238, 236), gap=4, bands=((0.0, 0.12, (236, 238, 236)),)),
    "diplomatic": Style((150, 58, 20), (236, 238, 236), gap=2, bands=((0.80, 1.0, (40, 36, 190)),)),
}
PLATE_TYPES = tuple(STYLES)


def draw(pen: FacePen, v: float, half_u: float, look: int, plate_type: str | None) -> None:
    """Puts a plate on a front, `v` its middle; without a type it is a private one."""
    style = PRIVATE if plate_type is None else STYLES[plate_type]
    pen.area(
        [(-half_u, v - HALF_V), (half_u, v - HALF_V), (half_u, v + HALF_V), (-half_u, v + HALF_V)],
        style.ground,
    )
    for start, end, colour in style.bands:
        a, b = (2 * start - 1) * half_u, (2 * end - 1) * half_u
        pen.area([(a, v - HALF_V), (b, v - HALF_V), (b, v + HALF_V), (a, v + HALF_V)], colour)
    rng = np.random.default_rng(look)
    for k in range(CHARACTERS):
        if k == style.gap:
            continue
        u = (-0.78 + k * 0.26) * half_u
        width = float(rng.uniform(0.05, 0.085)) * half_u
        height = HALF_V * float(rng.uniform(0.52, 0.62))
        if any(start < (u / half_u + 1) / 2 < end for start, end, _ in style.bands):
            continue
        pen.area(
            [
                (u - width, v - height),
                (u + width, v - height),
                (u + width, v + height),
                (u - width, v + height),
            ],
            style.ink,
        )
