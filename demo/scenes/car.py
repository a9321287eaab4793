"""A car in the scene: a body type, a brand, a paint, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from . import plate
from .body import Shape, make_shape
from .brands import BRANDS, FACES, PLATE_V, Bgr, Uv
from .camera import Array
from .canvas import Canvas
from .light import Light
from .surface import Patch, box_quads, grid, paint_quads, rounded_grid

PAINTS: tuple[Bgr, ...] = (
    (236, 236, 234),
    (178, 180, 180),
    (122, 124, 126),
    (64, 65, 67),
    (26, 26, 28),
    (40, 38, 170),
    (30, 30, 112),
    (150, 74, 28),
    (96, 48, 22),
    (196, 140, 70),
    (58, 92, 38),
    (92, 128, 96),
    (40, 168, 226),
    (36, 104, 222),
    (150, 190, 208),
    (70, 92, 118),
    (118, 40, 92),
    (206, 206, 150),
)
# Side windows, along the belt from the windscreen to the rear.
PANES = ((0.13, 0.46), (0.50, 0.90))
SUV_PANES = ((0.11, 0.38), (0.41, 0.68), (0.71, 0.93))


@dataclass(frozen=True)
class Car:
    """`x`, `y` is its middle on the ground in metres; `yaw` 0 faces the camera's side, radians."""

    brand: str
    body_type: str
    paint: Bgr
    x: float
    y: float
    yaw: float
    lamps: float = 0.0
    look: int = 0
    tints: tuple[float, float] = field(default=(0.0, 0.0))
    plate_type: str | None = None

    @cached_property
    def shape(self) -> Shape:
        return make_shape(self.body_type, np.random.default_rng(self.look))

    def world(self, local: Array) -> Array:
        """Points (..., 3) of the car's own axes in the world's."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        x = self.x + local[..., 0] * c - local[..., 1] * s
        y = self.y + local[..., 0] * s + local[..., 1] * c
        return np.stack([x, y, local[..., 2]], axis=-1)

    def placed(self, patch: Patch) -> Patch:
        return lambda u, v: self.world(patch(u, v))

    def outline(self, margin: float = 0.0) -> Array:
        """The footprint on the ground, (4, 2) in metres."""
        w, half = self.shape.half_width + margin, self.shape.length / 2 + margin
        corners = np.array([[-w, -half, 0], [w, -half, 0], [w, half, 0], [-w, half, 0.0]])
        return np.asarray(self.world(corners)[:, :2])

    def hull(self) -> Array:
        """Points (16, 3) whose convex hull holds the car, for shadows and truncation."""
        s = self.shape
        w, half = s.half_width, s.length / 2
        y = [-half + t * s.length for t in s.cabin]
        low = [[sx * w * 0.97, sy * half, z] for sx in (-1, 1) for sy in (-1, 1) for z in (0.0, s.nose)]
        cabin = [[sx * s.cabin_top, y[k], s.roof] for sx in (-1, 1) for k in (1, 2)]
        belt = [[sx * w, y[k], float(s.height(s.cabin[k]))] for sx in (-1, 1) for k in (0, 3)]
        return self.world(np.array(low + cabin + belt))

    def lamp_points(self) -> Array:
        """The two headlamps' places in the world (2, 3)."""
        return self.world(self.shape.front(np.array([-0.78, 0.78]), np.array([0.72, 0.72])))


def sample_car(rng: np.random.Generator, x: float, y: float, yaw: float, lamps: float) -> Car:
    """Any brand, any body type, any paint: none of the three says anything about the others."""
    paint = np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.85, 1.08) + rng.uniform(-8, 8, 3)
    blue, green, red = (float(c) for c in np.clip(paint, 14, 246))
    return Car(
        brand=BRANDS[rng.integers(len(BRANDS))],
        body_type=str(rng.choice(["Sedan", "SUV", "Hatchback", "Pickup"], p=[0.29, 0.27, 0.25, 0.19])),
        paint=(blue, green, red),
        x=x,
        y=y,
        yaw=yaw,
        lamps=lamps,
        look=int(rng.integers(1 << 31)),
        tints=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
    )


@dataclass
class CarPainter:
    """Paints one car; `tag` marks its pixels, `tag + 1` those of its front face."""

    canvas: Canvas
    light: Light
    car: Car
    tag: int

    def paint(self) -> None:
        self._below()
        self._shell()
        self._flanks()
        self._cabin()
        self._face()

    def _quads(self, quads: Array, colour: Bgr, material: str, shade: float = 1.0) -> None:
        paint_quads(self.canvas, self.light, quads, colour, material, self.tag, shade)

    def _colour(self, colour: Bgr, glow: float = 0.0) -> Bgr:
        """A flat part's colour: lit by the surroundings, or shining."""
        lit = np.array(colour) * np.array(self.light.ambient) * 1.12
        shine = glow * self.car.lamps
        blue, green, red = lit * (1 - shine) + np.minimum(np.array(colour) * 1.1, 255) * shine
        return float(blue), float(green), float(red)

    def _below(self) -> None:
        """Tyres and the dark underside, painted first: the body hides most of them."""
        s, half = self.car.shape, self.car.shape.length / 2
        quads = [
            box_quads(
                -s.half_width * 0.9,
                -half * 0.86,
                s.clearance * 0.75,
                s.half_width * 0.9,
                half * 0.9,
                s.clearance + 0.15,
            )
        ]
        for axle in s.axles:
            y = -half + axle * s.length
            for sign in (-1, 1):
                x = sign * s.half_width * 0.97
                inner = x - sign * 0.22
                quads.append(
                    box_quads(
                        min(x, inner), y - s.wheel * 0.55, 0, max(x, inner), y + s.wheel * 0.55, s.wheel * 1.6
                    )
                )
        self._quads(self.car.world(np.concatenate(quads)), (24, 24, 25), "matt", 0.8)

    def _shell(self) -> None:
        s, car = self.car.shape, self.car
        us, vs = np.linspace(-1, 1, 19), np.linspace(0, 1, 9)
        ts = np.concatenate([[0, 0.02, 0.05], np.linspace(0.09, 1, 19)])
        along = np.array([0, 0.04, 0.12, 0.25, 0.4, 0.6, 0.75, 0.88, 0.96, 1])
        for patch, u, v in ((s.rear, us[::4], vs[::2]), (s.upper, us, ts)):
            self._quads(grid(car.placed(patch), u, v), car.paint, "paint")
        for sign in (-1.0, 1.0):
            self._quads(grid(car.placed(s.side(sign)), along, np.linspace(0, 1, 10)), car.paint, "paint")
        front = grid(car.placed(s.front), us, vs)
        paint_quads(self.canvas, self.light, front, car.paint, "paint", self.tag + 1)

    def _decal(self, patch: Patch, uv: Uv, colour: Bgr, tag: int | None = None, glow: float = 0.0) -> None:
        points = self.car.world(patch(*np.array(uv, dtype=np.float64).T))
        if self.canvas.facing(points) or (self.canvas.facing(points[::-1]) and patch == self.car.shape.upper):
            self.canvas.polygon(points, self._colour(colour, glow), self.tag if tag is None else tag)

    def _flanks(self) -> None:
        """Wheels, arches, door gaps, handles and the cladding of tall cars."""
        s, half = self.car.shape, self.car.shape.length / 2
        for sign in (-1.0, 1.0):
            patch = s.side(sign)
            at = (lambda t: t) if sign > 0 else (lambda t: 1 - t)
            sill = (
                [(0.02, 0.0), (0.98, 0.0), (0.98, 0.17), (0.02, 0.17)]
                if s.cladding
                else [(0.03, 0.0), (0.97, 0.0), (0.97, 0.07), (0.03, 0.07)]
            )
            self._decal(patch, sill, (34, 34, 35))
            body_line = [(at(t), 0.62) for t in np.linspace(0.08, 0.96, 9)]
            self._side_line(patch, body_line, 0.7, 0.018)
            front, back = s.cabin[0] + 0.05, min(s.cabin[3] - 0.04, s.axles[1] - 0.02)
            middle = s.cabin[0] + (min(s.cabin[3], 0.86) - s.cabin[0]) * 0.53
            for t in (front, middle, back):
                self._side_line(patch, [(at(t), 0.12), (at(t), 0.5), (at(t), 0.98)], 0.45, 0.014)
            for t in (middle - 0.035, back - 0.035):
                self._side_line(patch, [(at(t - 0.02), 0.80), (at(t + 0.02), 0.80)], 0.5, 0.03)
            for axle in s.axles:
                self._wheel(sign, -half + axle * s.length)

    def _side_line(self, patch: Patch, uv: Uv, shade: float, width_m: float) -> None:
        points = self.car.world(patch(*np.array(uv, dtype=np.float64).T))
        normal = self.car.world(np.array([[1.0, 0, 0], [0, 0, 0]]))
        outward = (normal[0] - normal[1]) * (1 if patch(np.array(0.5), np.array(0.5))[0] > 0 else -1)
        if float((self.canvas.camera.eye - points.mean(axis=0)) @ outward) > 0:
            colour = self._colour(self.car.paint)
            self.canvas.line(points, [c * shade for c in colour], width_m, self.tag)

    def _wheel(self, sign: float, y: float) -> None:
        s = self.car.shape
        angles = np.linspace(0, 2 * np.pi, 22, endpoint=False) * (-sign)
        ring = np.stack([np.zeros_like(angles), np.cos(angles), np.sin(angles)], axis=-1)

        def disc(radius: float, x: float, colour: Bgr, upper: bool = False) -> None:
            points = ring * radius
            if upper:
                points[:, 2] = np.maximum(points[:, 2], s.clearance - s.wheel)
            points = self.car.world(points + np.array([sign * x, y, s.wheel]))
            if self.canvas.facing(points[::-1]):
                self.canvas.polygon(points, self._colour(colour), self.tag)

        edge = s.half_width * 0.985
        disc(s.wheel * 1.19, edge, (34, 34, 35) if s.cladding else (18, 18, 18), upper=True)
        disc(s.wheel, edge - 0.02, (30, 30, 31))
        disc(s.wheel * 0.66, edge, (150, 151, 152))
        disc(s.wheel * 0.58, edge, (74, 75, 76))
        for k in range(5):
            a = k * 2 * np.pi / 5 + self.car.tints[0] * 3
            spoke = np.array(
                [
                    [sign * edge, y, s.wheel],
                    [sign * edge, y + np.cos(a) * s.wheel * 0.6, s.wheel + np.sin(a) * s.wheel * 0.6],
                ]
            )
            points = self.car.world(ring * s.wheel + [sign * edge, y, s.wheel])
            if self.canvas.facing(points[::-1]):
                self.canvas.line(self.car.world(spoke), self._colour((178, 179, 180)), 0.06, self.tag)

    def _cabin(self) -> None:
        s, car = self.car.shape, self.car
        us, vs = np.linspace(-1, 1, 11), np.linspace(0, 1, 7)
        parts = [
            (s.rear_window, us[::2]),
            (s.glasshouse(-1.0), us / 2 + 0.5),
            (s.glasshouse(1.0), us / 2 + 0.5),
            (s.windscreen, us),
        ]
        if s.body_type == "Pickup":
            self._bed()
        quads = np.concatenate([grid(car.placed(p), u, vs) for p, u in parts])
        self._quads(quads, car.paint, "paint")
        self._quads(grid(car.placed(s.roof_panel), us, vs), self._roof_paint(), "paint")
        tint: Bgr = (40 + 16 * car.tints[0], 40 + 12 * car.tints[0], 38 + 8 * car.tints[0])
        for sign in (-1.0, 1.0):
            side = car.placed(s.glasshouse(sign))
            spans = SUV_PANES if s.body_type == "SUV" else PANES
            for a, b in spans:
                span = (a, b) if sign > 0 else (1 - b, 1 - a)
                self._quads(rounded_grid(side, (span[0], 0.10, span[1], 0.86), 0.25, 5), tint, "glass")
        screen = rounded_grid(car.placed(s.windscreen), (-0.93, 0.03, 0.93, 0.95), 0.16, 19)
        self._quads(screen, tint, "glass")
        self._inside()
        self._roof_fittings()
        self._mirrors()

    def _roof_paint(self) -> Bgr:
        """Small cars have their roof in a contrasting colour."""
        if self.car.body_type != "Hatchback":
            return self.car.paint
        return (28, 28, 30) if sum(self.car.paint) > 270 else (224, 226, 226)

    def _inside(self) -> None:
        """Wiper line and the driver's silhouette behind the windscreen."""
        s = self.car.shape
        wiper = self.car.world(s.windscreen(np.array([-0.7, -0.1, 0.55]), np.array([0.06, 0.09, 0.05])))
        self.canvas.line(wiper, (16, 16, 16), 0.02, self.tag)
        if self.car.tints[1] > 0.35:
            for u, v, ru, rv in ((0.42, 0.30, 0.20, 0.22), (0.42, 0.52, 0.10, 0.16)):
                a = np.linspace(0, 2 * np.pi, 12, endpoint=False)
                points = self.car.world(s.windscreen(u + ru * np.cos(a), v + rv * np.sin(a)))
                self.canvas.polygon(points, self._colour((62, 62, 68)), self.tag)

    def _roof_fittings(self) -> None:
        s = self.car.shape
        if s.body_type == "SUV":
            for sign in (-1.0, 1.0):
                rail = s.roof_panel(np.full(5, sign * 0.90), np.linspace(0.03, 0.97, 5))
                rail = self.car.world(rail + np.array([0, 0, 0.08]))
                self.canvas.line(rail, self._colour((52, 52, 54)), 0.09, self.tag)
                self.canvas.line(rail + np.array([0, 0, 0.02]), self._colour((206, 208, 208)), 0.05, self.tag)
        if s.body_type == "Pickup":
            for u in np.linspace(-0.62, 0.62, 5):
                lamp = s.roof_panel(np.full(2, u), np.array([0.05, 0.16])) + np.array([0, 0, 0.05])
                amber: Bgr = (20, 150, 250)
                self.canvas.line(self.car.world(lamp), self._colour(amber, 0.9), 0.09, self.tag)

    def _bed(self) -> None:
        """The open bed behind a pickup's cab, with its roll bar."""
        s = self.car.shape
        inside = [(-0.80, 0.62), (0.80, 0.62), (0.80, 0.97), (-0.80, 0.97)]
        points = self.car.world(s.upper(*np.array(inside).T))
        self.canvas.polygon(points, self._colour((30, 30, 31)), self.tag)
        y = -s.length / 2 + 0.645 * s.length
        hoop = [(-0.84, 1.2), (-0.78, s.roof + 0.14), (0.78, s.roof + 0.14), (0.84, 1.2)]
        bar = np.array([[u * s.half_width, y, z] for u, z in hoop])
        self.canvas.line(self.car.world(bar), self._colour((44, 44, 46)), 0.10, self.tag)

    def _mirrors(self) -> None:
        s = self.car.shape
        y = -s.length / 2 + (s.cabin[0] + 0.055) * s.length
        z = float(s.height(s.cabin[0])) + 0.10
        for sign in (-1.0, 1.0):
            x = sign * (s.cabin_base + 0.17)
            box = box_quads(x - 0.11, y - 0.05, z - 0.07, x + 0.11, y + 0.06, z + 0.07)
            self._quads(self.car.world(box), self.car.paint, "paint", 0.9)

    def area(self, uv: Uv, colour: Bgr, glow: float = 0.0) -> None:
        self._decal(self.car.shape.front, uv, colour, self.tag + 1, glow)

    def stroke(self, uv: Uv, colour: Bgr, width_m: float, glow: float = 0.0) -> None:
        points = self.car.world(self.car.shape.front(*np.array(uv, dtype=np.float64).T))
        if self._front_shows():
            self.canvas.line(points, self._colour(colour, glow), width_m, self.tag + 1)

    def _front_shows(self) -> bool:
        corners = self.car.world(
            self.car.shape.front(np.array([-0.6, 0.6, 0.6, -0.6]), np.array([0.2, 0.2, 0.8, 0.8]))
        )
        return self.canvas.facing(corners)

    def _face(self) -> None:
        s = self.car.shape
        if not self._front_shows():
            return
        if s.cladding:
            self.area(
                [
                    (-0.97, 0.0),
                    (-0.5, 0.0),
                    (0, 0),
                    (0.5, 0.0),
                    (0.97, 0.0),
                    (0.98, 0.13),
                    (0.5, 0.13),
                    (0, 0.13),
                    (-0.5, 0.13),
                    (-0.98, 0.13),
                ],
                (34, 34, 35),
            )
        FACES[self.car.brand](self)
        self._plate()

    def _plate(self) -> None:
        car = self.car
        half_u = plate.HALF_WIDTH_M / car.shape.half_width
        plate.draw(self, PLATE_V[car.brand], half_u, car.look + 1, car.plate_type)
