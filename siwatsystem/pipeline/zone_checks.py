"""What is wrong with a zone's corners. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Corner = tuple[float, float]
Points = NDArray[np.float64]

MAX_CORNERS = 256
"""More than this no one draws, and every frame pays for each."""
MAX_REACH = 1e9
"""Pixels; beyond it the products of corners are no numbers any more."""


def zone_trouble(zone: Sequence[Corner]) -> str | None:
    """Why no box can be told to stand inside `zone` (three corners or more), None if it can.

    The first corner may be repeated at the end. Crossings are found pair by pair, by the signs of
    the corners' sides of the other edge (Cormen et al., Introduction to Algorithms, 33.1).
    """
    if len(zone) > MAX_CORNERS:
        return f"has {len(zone)} corners, more than {MAX_CORNERS}"
    reach = max(abs(value) for corner in zone for value in corner)
    if reach > MAX_REACH:
        return "has a corner further away than any picture reaches"
    corners = [
        corner for corner, before in zip(zone, [*zone[-1:], *zone[:-1]], strict=True) if corner != before
    ]
    crossing = _crossing(corners)
    if crossing is not None:
        one, other = crossing
        return f"crosses itself: the edge from {_shown(one)} and the edge from {_shown(other)}"
    # Corners on a slanting line have an area of some rounding errors.
    if abs(_area(corners)) <= 1e-9 * reach**2:
        return "has no area: its corners lie on one line"
    return None


def mixes_units(zone: Sequence[Corner]) -> bool:
    """Whether some corners look like fractions of the picture and others like pixels."""
    values = [value for corner in zone for value in corner]
    return any(0 < value < 1 for value in values) and any(value > 1 for value in values)


def _area(corners: Sequence[Corner]) -> float:
    """Twice the signed area (shoelace formula)."""
    return sum(
        x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], *corners[:1]], strict=True)
    )


def _crossing(corners: Sequence[Corner]) -> tuple[Corner, Corner] | None:
    """The first corners of two edges that cross."""
    if not corners:
        return None
    begins = np.array(corners, np.float64)
    ends = np.roll(begins, -1, axis=0)
    of_begins, of_ends = _sides(begins, ends, begins), _sides(begins, ends, ends)
    parted = of_begins * of_ends < 0
    found = np.argwhere(np.triu(parted & parted.T, 1))
    return (corners[found[0][0]], corners[found[0][1]]) if len(found) else None


def _sides(begins: Points, ends: Points, points: Points) -> Points:
    """On which side of edge i point j lies: -1, 0 or 1 at [i, j]."""
    along, off = ends - begins, points[None] - begins[:, None]
    return np.sign(along[:, None, 0] * off[..., 1] - along[:, None, 1] * off[..., 0])


def _shown(corner: Corner) -> str:
    return f"[{corner[0]:g}, {corner[1]:g}]"
