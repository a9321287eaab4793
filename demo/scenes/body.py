"""Body types: the curved shape of a car, without what its maker puts on the front.

Car axes: x across (driver's right-hand side negative), y along with the front at -length/2, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .camera import Array
from .surface import Patch


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
        # Sheet metal bends, it does not fold: the corners between the measures are smoothed, the nose's
        # own height is kept.
        spread = (-0.05, -0.025, 0.0, 0.025, 0.05)
        smooth = np.mean([np.interp(np.asarray(t) + k, xs, zs) for k in spread], axis=0)
        lost = zs[0] - np.mean([np.interp(k, xs, zs) for k in spread])
        return np.asarray(smooth + lost * np.exp(-np.asarray(t) / 0.03))

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


SHAPES = {
    "Sedan": Shape(
        body_type="Sedan",
        length=4.75,
        half_width=0.92,
        clearance=0.18,
        top=((0, 0.68), (0.10, 0.81), (0.31, 0.93), (0.55, 0.95), (0.84, 1.02), (1.0, 0.98)),
        cabin=(0.305, 0.47, 0.655, 0.84),
        roof=1.38,
        cabin_base=0.80,
        cabin_top=0.58,
        wheel=0.325,
        axles=(0.195, 0.79),
        cladding=False,
    ),
    "SUV": Shape(
        body_type="SUV",
        length=4.62,
        half_width=0.96,
        clearance=0.34,
        top=((0, 1.02), (0.08, 1.14), (0.26, 1.23), (0.6, 1.25), (1.0, 1.25)),
        cabin=(0.245, 0.36, 0.90, 0.985),
        roof=1.90,
        cabin_base=0.89,
        cabin_top=0.77,
        wheel=0.40,
        axles=(0.20, 0.79),
        cladding=True,
    ),
    "Hatchback": Shape(
        body_type="Hatchback",
        length=3.72,
        half_width=0.84,
        clearance=0.19,
        top=((0, 0.76), (0.10, 0.90), (0.22, 1.02), (0.6, 1.03), (1.0, 1.03)),
        cabin=(0.205, 0.405, 0.82, 0.965),
        roof=1.57,
        cabin_base=0.77,
        cabin_top=0.61,
        wheel=0.30,
        axles=(0.19, 0.83),
        cladding=False,
    ),
    "Pickup": Shape(
        body_type="Pickup",
        length=5.30,
        half_width=0.99,
        clearance=0.38,
        top=((0, 1.10), (0.06, 1.19), (0.26, 1.26), (0.6, 1.26), (1.0, 1.26)),
        cabin=(0.26, 0.37, 0.54, 0.60),
        roof=1.90,
        cabin_base=0.85,
        cabin_top=0.68,
        wheel=0.43,
        axles=(0.185, 0.77),
        cladding=True,
    ),
}
BODY_TYPES = tuple(SHAPES)


def make_shape(body_type: str, rng: np.random.Generator) -> Shape:
    """A car of the body type, its length and heights varied by up to two and a half per cent."""
    shape = SHAPES[body_type]
    longer, taller = (1 + float(k) for k in rng.uniform(-0.025, 0.025, 2))
    top = tuple((t, z * taller) for t, z in shape.top)
    return replace(shape, length=shape.length * longer, top=top, roof=shape.roof * taller)
