"""What is wrong with a zone's corners. Pure."""

from collections.abc import Sequence

Corner = tuple[float, float]

MAX_CORNERS = 256
"""More than this no one draws, and every frame pays for each."""


def zone_trouble(zone: Sequence[Corner]) -> str | None:
    """Why no box can be told to stand inside `zone` (three corners or more), None if it can.

    The first corner may be repeated at the end. Crossings are found pair by pair, by the signs of
    the corners' sides of the other edge (Cormen et al., Introduction to Algorithms, 33.1).
    """
    if len(zone) > MAX_CORNERS:
        return f"has {len(zone)} corners, more than {MAX_CORNERS}"
    corners = [
        corner for corner, before in zip(zone, [*zone[-1:], *zone[:-1]], strict=True) if corner != before
    ]
    crossing = _crossing(corners)
    if crossing is not None:
        one, other = crossing
        return f"crosses itself: the edge from {_shown(one)} and the edge from {_shown(other)}"
    # Corners on a slanting line have an area of some rounding errors.
    reach = max((abs(value) for corner in corners for value in corner), default=0.0)
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
    edges = list(zip(corners, [*corners[1:], *corners[:1]], strict=True))
    for index, (a, b) in enumerate(edges):
        for c, d in edges[index + 1 :]:
            if _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0:
                return a, c
    return None


def _side(a: Corner, b: Corner, point: Corner) -> int:
    cross = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
    return (cross > 0) - (cross < 0)


def _shown(corner: Corner) -> str:
    return f"[{corner[0]:g}, {corner[1]:g}]"
