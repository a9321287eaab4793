"""Zones: whether a box stands inside a polygon. Pure."""

from collections.abc import Sequence

from siwatsystem.detections import Detection

Corner = tuple[float, float]


def in_pixels(zone: Sequence[Corner], width: int, height: int) -> tuple[Corner, ...]:
    """The corners in pixels of a picture of that size; they are fractions when all are at most 1."""
    if all(x <= 1 and y <= 1 for x, y in zone):
        return tuple((x * width, y * height) for x, y in zone)
    return tuple(zone)


def stands_in(detection: Detection, zone: Sequence[Corner]) -> bool:
    """Whether the box's bottom centre lies inside `zone` (pixels of the same picture) or on its edge."""
    x, y = detection.bottom_centre
    return contains(zone, x, y)


def contains(zone: Sequence[Corner], x: float, y: float) -> bool:
    """Whether the point is inside the polygon or on its edge (even-odd rule, any simple polygon)."""
    inside = False
    for (x1, y1), (x2, y2) in zip(zone, [*zone[1:], zone[0]], strict=True):
        side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
        if side == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return True
        if (y1 > y) != (y2 > y) and (side > 0) == (y2 > y1):
            inside = not inside
    return inside
