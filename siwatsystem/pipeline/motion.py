"""How a box moves: a Kalman filter in real seconds, in units of the box's own size.

Constant velocity with white acceleration noise of continuous time (Bar-Shalom et al. 2001, chapter 6.2),
so that one step of half a second and five of a tenth leave the same state and the same doubt.
"""

import math
from dataclasses import dataclass

from siwatsystem.detections import Xyxy

JITTER = 0.04
"""Standard deviation of a box's centre and edges, in sizes of the box (its longer side)."""
FIRST_SPEED = 1.2
"""Standard deviation of the speed of a box seen once, sizes per second."""
RESTLESS = 1.2
"""How much the speed changes in a second, sizes per second."""
GROWTH = 0.35
"""How much the logarithm of width and height changes in a second."""
CUT = 0.2
"""Shift of the centre per change of the size's logarithm: what is hidden moves the rest's centre."""
EDGE = 0.01
"""Share of the picture nearer to its edge than which a box touches it."""


@dataclass(slots=True)
class Axis:
    """Position and speed along one axis of the picture, and their covariance."""

    place: float
    speed: float
    place_variance: float
    shared: float
    speed_variance: float

    def copy(self) -> "Axis":
        return Axis(self.place, self.speed, self.place_variance, self.shared, self.speed_variance)

    def predict(self, dt: float, restless: float) -> None:
        """Move on by `dt` seconds; `restless` is the acceleration noise's spectral density."""
        self.place += self.speed * dt
        self.place_variance += dt * (2 * self.shared + dt * self.speed_variance) + restless * dt**3 / 3
        self.shared += dt * self.speed_variance + restless * dt**2 / 2
        self.speed_variance += restless * dt

    def correct(self, place: float, variance: float) -> None:
        """Take in where it was measured."""
        doubt = self.place_variance + variance
        gain, speed_gain = self.place_variance / doubt, self.shared / doubt
        off = place - self.place
        self.place += gain * off
        self.speed += speed_gain * off
        self.speed_variance -= speed_gain * self.shared
        self.shared *= 1 - gain
        self.place_variance *= 1 - gain


class Motion:
    """Where a box is believed to be; all in pixels and seconds."""

    __slots__ = ("height", "size_variance", "width", "x", "y")

    def __init__(self, box: Xyxy) -> None:
        x, y, self.width, self.height = _measured(box)
        variance, speed = (JITTER * self.size) ** 2, (FIRST_SPEED * self.size) ** 2
        self.x = Axis(x, 0.0, variance, 0.0, speed)
        self.y = Axis(y, 0.0, variance, 0.0, speed)
        self.size_variance = JITTER**2
        """Of the logarithm of width and height."""

    def copy(self) -> "Motion":
        """The same belief, to go on from."""
        twin = Motion.__new__(Motion)
        twin.x, twin.y = self.x.copy(), self.y.copy()
        twin.width, twin.height, twin.size_variance = self.width, self.height, self.size_variance
        return twin

    @property
    def size(self) -> float:
        """The longer side, pixels."""
        return max(self.width, self.height)

    @property
    def box(self) -> Xyxy:
        x, y, w, h = self.x.place, self.y.place, self.width / 2, self.height / 2
        return x - w, y - h, x + w, y + h

    @property
    def doubts(self) -> tuple[float, float, float]:
        """Variances of the centre's x and y (pixels²) and of the size's logarithm."""
        return self.x.place_variance, self.y.place_variance, self.size_variance

    def predict(self, dt: float) -> None:
        """Move on by `dt` seconds."""
        restless = (RESTLESS * self.size) ** 2
        self.x.predict(dt, restless)
        self.y.predict(dt, restless)
        self.size_variance += GROWTH**2 * dt

    def correct(self, box: Xyxy, edge: Xyxy | None = None) -> None:
        """Take in a box that shows it. A box whose size changed at once is believed less as to place;
        where it touches the picture's `edge`, it is taken to go on beyond it."""
        x, y, width, height = _measured(box if edge is None else self._completed(box, edge))
        wider, higher = math.log(width / self.width), math.log(height / self.height)
        size = self.size
        self.x.correct(x, (size * (JITTER + CUT * abs(wider))) ** 2)
        self.y.correct(y, (size * (JITTER + CUT * abs(higher))) ** 2)
        gain = self.size_variance / (self.size_variance + JITTER**2)
        self.width *= math.exp(gain * wider)
        self.height *= math.exp(gain * higher)
        self.size_variance *= 1 - gain

    def _completed(self, box: Xyxy, edge: Xyxy) -> Xyxy:
        x1, y1, x2, y2 = box
        x1, x2 = _beyond(x1, x2, self.width, edge[0], edge[2])
        y1, y2 = _beyond(y1, y2, self.height, edge[1], edge[3])
        return x1, y1, x2, y2


def _beyond(low: float, high: float, length: float, first: float, last: float) -> tuple[float, float]:
    """The span from `low` to `high` made `length` long, where it touches one end of the picture."""
    near = EDGE * (last - first)
    if high - low >= length or (low <= first + near) == (high >= last - near):
        return low, high
    return (high - length, high) if low <= first + near else (low, low + length)


def _measured(box: Xyxy) -> tuple[float, float, float, float]:
    """Centre, width and height, the latter of at least a pixel."""
    x1, y1, x2, y2 = box
    return (x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, 1.0), max(y2 - y1, 1.0)
