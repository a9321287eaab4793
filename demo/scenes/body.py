"""Body types: the curved shape of a car, without what its maker puts on the front.

Car axes: x across (driver's right-hand side negative), y along with the front at -length/2, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import Array
from .surface import Patch

BODY_TYPES = ("Sedan", "SUV", "Hatchback", "Pickup")


@dataclass(frozen=True)
class Shape:
    """Measures in metres; stations along the car as fractions of its length from the front."""

    body_type: str
    length: float
    half_width: float
    clearance: float
    top: tuple[tuple[float, float], ...]
    cabin: tuple[float, float, float, float]
    roof: float
    cabin_base: float
    cabin_top: float
    wheel: float
    axles: tuple[float, float]
    cladding: bool

    @property
    def nose(self) -> float:
        return self.top[0][1]

    def height(self, t: Array | float) -> Array:
        """Height of the lower body's top (bonnet, belt, boot) at station t."""
        xs, zs = zip(*self.top, strict=True)
        knots = [np.interp(np.asarray(t) + k, xs, zs) for k in (-0.05, -0.025, 0.0, 0.025, 0.05)]
        # Sheet metal bends, it does not fold: the measures' corners are smoothed.
        return np.asarray(
            np.mean(knots, axis=0)
            + (zs[0] - np.mean([np.interp(k, xs, zs) for k in (-0.05, -0.025, 0.0, 0.025, 0.05)]))
            * np.exp(-np.asarray(t) / 0.03)
        )

    def width(self, t: Array) -> Array:
        """Half width at station t: narrower at both ends, as seen from above."""
        ends = np.interp(t, [0, 0.06, 0.2, 0.85, 1.0], [0.95, 0.985, 1.0, 1.0, 0.93])
        return np.asarray(self.half_width * ends)

    def flank(self, v: Array) -> Array:
        """Relative width up the side: tucked in at sill and shoulder."""
        return np.asarray(np.interp(v, [0, 0.12, 0.45, 0.62, 0.85, 1], [0.93, 0.97, 1, 0.985, 0.97, 0.93]))

    def bottom(self, t: Array) -> Array:
        return np.asarray(np.interp(t, [0, 0.08, 0.92, 1], [0.02, 0, 0, 0.10])) + self.clearance

    def crown(self, t: Array | float, u: Array) -> Array:
        """Height of the top at station t and across u in -1..1."""
        rise = np.interp(t, [0, 0.3, 1], [0.07, 0.06, 0.05])
        return self.height(t) - rise * np.abs(u) ** 3 + 0.012 * (1 - u * u)

    def nose_y(self, u: Array, v: Array) -> Array:
        """How far behind the foremost point the front face lies at (u, v)."""
        sweep = 0.24 * np.abs(u) ** 2.6
        lean = 0.10 * np.clip((v - 0.55) / 0.45, 0, 1) ** 2 + 0.10 * np.clip((0.25 - v) / 0.25, 0, 1) ** 2
        return np.asarray(-self.length / 2 + sweep + lean)

    def front(self, u: Array, v: Array) -> Array:
        """The front face: u across -1..1, v from the bumper's lower edge to the bonnet's edge 0..1."""
        zero = np.zeros_like(u)
        low = self.bottom(zero)
        x = u * self.width(zero) * self.flank(v)
        return np.stack([x, self.nose_y(u, v), low + (self.crown(0.0, u) - low) * v], axis=-1)

    def rear(self, u: Array, v: Array) -> Array:
        one = np.ones_like(u)
        low = self.bottom(one)
        y = self.length / 2 - 0.12 * np.abs(u) ** 3 - 0.05 * v
        x = -u * self.width(one) * self.flank(v)
        return np.stack([x, y, low + (self.crown(1.0, u) - low) * v], axis=-1)

    def _along(self, t: Array, u: Array, v: Array) -> Array:
        back = self.length / 2 - 0.12 * np.abs(u) ** 3 - 0.05 * v
        return (1 - t) * self.nose_y(u, v) + t * back

    def side(self, sign: float) -> Patch:
        """The flank of one side as a patch (t along, v up); sign -1 is x < 0."""

        def patch(t: Array, v: Array) -> Array:
            t = t if sign > 0 else 1 - t
            edge = np.full_like(t, sign)
            low = self.bottom(t)
            x = sign * self.width(t) * self.flank(v)
            return np.stack([x, self._along(t, edge, v), low + (self.crown(t, edge) - low) * v], axis=-1)

        return patch

    def upper(self, u: Array, t: Array) -> Array:
        """Bonnet, shoulders and boot: u across -1..1, t along 0..1."""
        one = np.ones_like(u)
        x = u * self.width(t) * self.flank(one)
        return np.stack([x, self._along(t, u, one), self.crown(t, u)], axis=-1)

    def _edge(self, which: int, u: Array) -> Array:
        """The cabin's four crosswise edges, front base to rear base, as points over u."""
        t = self.cabin[which]
        y = -self.length / 2 + t * self.length
        bow = (0.16, 0.09, -0.05, -0.08)[which] * np.abs(u) ** 2
        half = self.cabin_top if which in (1, 2) else self.cabin_base
        if which in (1, 2):
            z = self.roof - (0.02 if which == 1 else 0.03) - 0.03 * u * u
        else:
            z = self.height(t) - 0.04 * u * u
        return np.stack([u * half, y + bow, np.broadcast_to(z, u.shape)], axis=-1)

    def _between(self, a: int, b: int, u: Array, v: Array, bulge: float) -> Array:
        points = self._edge(a, u) * (1 - v[..., None]) + self._edge(b, u) * v[..., None]
        points[..., 2] += bulge * 4 * v * (1 - v) * (1 - 0.5 * u * u)
        return points

    def windscreen(self, u: Array, v: Array) -> Array:
        return self._between(0, 1, u, v, 0.035)

    def roof_panel(self, u: Array, v: Array) -> Array:
        return self._between(1, 2, u, v, 0.03)

    def rear_window(self, u: Array, v: Array) -> Array:
        return self._between(3, 2, -u, v, 0.03)

    def glasshouse(self, sign: float) -> Patch:
        """The cabin's side as a patch (t along the belt 0..1, v up)."""

        def patch(t: Array, v: Array) -> Array:
            t = t if sign > 0 else 1 - t
            edge = np.full_like(t, sign)
            base = self._edge(0, edge) * (1 - t[..., None]) + self._edge(3, edge) * t[..., None]
            top = self._edge(1, edge) * (1 - t[..., None]) + self._edge(2, edge) * t[..., None]
            points = base * (1 - v[..., None]) + top * v[..., None]
            points[..., 0] += sign * 0.05 * 4 * v * (1 - v) * 0.6
            return points

        return patch


def make_shape(body_type: str, rng: np.random.Generator) -> Shape:
    """A car of the body type, its measures varied by a few per cent."""
    k = 1 + float(rng.uniform(-0.03, 0.03))
    h = 1 + float(rng.uniform(-0.025, 0.025))
    if body_type == "Sedan":
        return Shape(
            body_type,
            4.72 * k,
            0.91,
            0.19,
            (
                (0, 0.70 * h),
                (0.10, 0.84 * h),
                (0.30, 0.96 * h),
                (0.55, 0.97 * h),
                (0.84, 1.03 * h),
                (1.0, 0.98 * h),
            ),
            (0.29, 0.455, 0.655, 0.84),
            1.42 * h,
            0.80,
            0.60,
            0.325,
            (0.195, 0.79),
            False,
        )
    if body_type == "SUV":
        return Shape(
            body_type,
            4.62 * k,
            0.96,
            0.30,
            ((0, 0.98 * h), (0.08, 1.10 * h), (0.27, 1.20 * h), (0.6, 1.22 * h), (1.0, 1.22 * h)),
            (0.25, 0.365, 0.90, 0.985),
            1.84 * h,
            0.88,
            0.74,
            0.385,
            (0.20, 0.79),
            True,
        )
    if body_type == "Hatchback":
        return Shape(
            body_type,
            3.80 * k,
            0.85,
            0.20,
            ((0, 0.76 * h), (0.10, 0.90 * h), (0.24, 1.02 * h), (0.6, 1.02 * h), (1.0, 1.02 * h)),
            (0.22, 0.415, 0.82, 0.965),
            1.55 * h,
            0.77,
            0.60,
            0.31,
            (0.19, 0.83),
            False,
        )
    return Shape(
        body_type,
        5.30 * k,
        0.99,
        0.36,
        ((0, 1.08 * h), (0.06, 1.17 * h), (0.26, 1.24 * h), (0.6, 1.25 * h), (1.0, 1.25 * h)),
        (0.26, 0.37, 0.54, 0.60),
        1.88 * h,
        0.86,
        0.70,
        0.42,
        (0.185, 0.77),
        True,
    )
