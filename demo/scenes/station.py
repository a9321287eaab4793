"""The fuel station: canopy and pillars, pump islands, the shop, the sky and trees behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Array
from .canvas import Canvas
from .light import Light
from .surface import box_quads, paint_quads

Bgr = tuple[float, float, float]
LIVERIES: tuple[tuple[Bgr, Bgr, str], ...] = (
    ((52, 60, 200), (240, 240, 240), "NORTHGATE"),
    ((60, 140, 40), (230, 240, 240), "VERDE"),
    ((170, 90, 30), (240, 240, 240), "BLUELINE"),
    ((30, 170, 240), (60, 40, 30), "SUNFUEL"),
    ((120, 50, 90), (240, 240, 240), "MERIDIAN"),
)
PUMP_HEIGHT_M = 1.95

Painting = Callable[[Canvas, Light, int], None]


@dataclass(frozen=True)
class Station:
    """Where things stand, metres: islands' x, pumps' and pillars' y, canopy (x1, y1, x2, y2), shop."""

    islands: list[float]
    pumps: list[float]
    pillars: list[float]
    canopy: tuple[float, float, float, float]
    canopy_z: float
    shop_y: float
    shop_x: tuple[float, float]
    livery: int
    seed: int

    def standing(self) -> list[tuple[Array, Painting]]:
        """What can hide a car: (place on the ground (2,), painter)."""
        things: list[tuple[Array, Painting]] = []
        for x in self.islands:
            for y in self.pumps:
                things.append((np.array([x, y]), partial(self._pump, x, y)))
            for y in self.pillars:
                things.append((np.array([x, y]), partial(self._pillar, x, y)))
        return things

    def backdrop(self, canvas: Canvas, light: Light) -> None:
        """Sky, trees and the shop; call after the ground is laid."""
        rng = np.random.default_rng(self.seed)
        horizon = round(canvas.camera.horizon_px * canvas.scale)
        if horizon > 0:
            _sky(canvas, light, min(horizon, canvas.buffer.shape[0]), rng)
        _trees(canvas, light, rng)
        self._shop(canvas, light)
        for x in self.islands:
            low, high = min(self.pumps) - 1.8, max(self.pumps) + 1.8
            slab = box_quads(x - 0.62, low, 0, x + 0.62, high, 0.16)
            paint_quads(canvas, light, slab, (168, 172, 174), "matt", 0)

    def roof(self, canvas: Canvas, light: Light) -> None:
        """The canopy: nothing that drives is above it, so it is painted before the cars."""
        x1, y1, x2, y2 = self.canopy
        z = self.canopy_z
        under = np.array([[[x1, y2, z], [x2, y2, z], [x2, y1, z], [x1, y1, z]]], dtype=np.float64)
        tiles = _split(under[0], 12, 14)
        glow = 70 + 110 * light.canopy_glow + 30 * max(light.ambient)
        shade = glow * np.array([0.97, 1.0, 1.0])
        fade = np.clip(1.08 - np.abs(tiles.mean(axis=1)[:, :1] - (x1 + x2) / 2) / 30, 0, 1)
        canvas.polygons(tiles, np.clip(shade * fade, 0, 232), 0, sort=True)
        lamps = []
        for x in np.arange(x1 + 1.6, x2 - 1, light.lamp_pitch):
            for y in np.arange(y1 + 1.4, y2 - 1, 2.6):
                lamps.append(
                    [
                        [x - 0.45, y + 0.5, z],
                        [x + 0.45, y + 0.5, z],
                        [x + 0.45, y - 0.5, z],
                        [x - 0.45, y - 0.5, z],
                    ]
                )
        bright = np.full((len(lamps), 3), 190 + 65 * light.canopy_glow)
        canvas.polygons(np.array(lamps, dtype=np.float64), bright, 0)
        self._fascia(canvas, light)

    def _fascia(self, canvas: Canvas, light: Light) -> None:
        """The band around the canopy, seen from inside as its far edge and from outside as its near one."""
        main, accent, name = LIVERIES[self.livery]
        x1, y1, x2, _ = self.canopy
        z = self.canopy_z
        gain = 0.55 + 0.5 * max(light.ambient) + 0.2 * light.canopy_glow
        if canvas.camera.position[1] < y1:
            for low, high, colour in ((z, z + 0.62, main), (z + 0.62, z + 0.74, accent)):
                quad = np.array([[[x1, y1, low], [x2, y1, low], [x2, y1, high], [x1, y1, high]]])
                canvas.polygons(quad, np.array([colour]) * gain, 0)
            sign = _sign(name, accent, main, 30)
            mid = (x1 + x2) / 2 - 3.0
            corners = np.array(
                [
                    [mid - 2.4, y1, z + 0.56],
                    [mid + 2.4, y1, z + 0.56],
                    [mid + 2.4, y1, z + 0.06],
                    [mid - 2.4, y1, z + 0.06],
                ]
            )
            canvas.texture(corners, sign, 0, gain)

    def _pump(self, x: float, y: float, canvas: Canvas, light: Light, tag: int) -> None:
        main, _, _ = LIVERIES[self.livery]
        glow = 0.85 + 0.35 * light.canopy_glow
        body = box_quads(x - 0.42, y - 0.27, 0.16, x + 0.42, y + 0.27, PUMP_HEIGHT_M)
        paint_quads(canvas, light, body, (214, 216, 216), "plastic", tag, glow)
        cap = box_quads(x - 0.46, y - 0.31, PUMP_HEIGHT_M, x + 0.46, y + 0.31, PUMP_HEIGHT_M + 0.22)
        paint_quads(canvas, light, cap, main, "plastic", tag, glow)
        base = box_quads(x - 0.44, y - 0.29, 0.16, x + 0.44, y + 0.29, 0.62)
        paint_quads(canvas, light, base, main, "plastic", tag, glow)
        face = y - 0.275
        shine = 0.8 + 0.4 * light.canopy_glow

        def panel(x1: float, z1: float, x2: float, z2: float, colour: Bgr) -> None:
            quad = np.array(
                [[[x + x1, face, z1], [x + x2, face, z1], [x + x2, face, z2], [x + x1, face, z2]]]
            )
            canvas.polygons(quad, np.array([colour]) * shine, tag)

        panel(-0.30, 1.38, 0.30, 1.80, (40, 40, 42))
        panel(-0.25, 1.50, 0.25, 1.74, (150, 170, 120))
        for k, colour in enumerate(((50, 190, 60), (40, 40, 220), (40, 200, 230))):
            panel(-0.30 + k * 0.21, 0.98, -0.12 + k * 0.21, 1.26, (60, 60, 62))
            panel(-0.25 + k * 0.21, 1.02, -0.17 + k * 0.21, 1.22, colour)
        for sign in (-1.0, 1.0):
            t = np.linspace(0, 1, 9)
            hose = np.stack(
                [
                    x + sign * (0.44 + 0.16 * np.sin(np.pi * t)),
                    np.full(9, y - 0.1),
                    1.7 - 0.5 * t - 0.75 * np.sin(np.pi * t),
                ],
                axis=-1,
            )
            canvas.line(hose, (22, 22, 24), 0.05, tag)

    def _pillar(self, x: float, y: float, canvas: Canvas, light: Light, tag: int) -> None:
        main, _, _ = LIVERIES[self.livery]
        glow = 0.85 + 0.3 * light.canopy_glow
        post = box_quads(x - 0.2, y - 0.2, 0.16, x + 0.2, y + 0.2, self.canopy_z)
        paint_quads(canvas, light, _split_boxes(post), (206, 208, 210), "plastic", tag, glow)
        band = box_quads(x - 0.21, y - 0.21, 0.16, x + 0.21, y + 0.21, 1.1)
        paint_quads(canvas, light, band, main, "plastic", tag, glow)

    def _shop(self, canvas: Canvas, light: Light) -> None:
        main, accent, name = LIVERIES[self.livery]
        x1, x2 = self.shop_x
        y = self.shop_y
        lit = 0.35 + 0.65 * max(light.canopy_glow, light.lamps)
        paint_quads(canvas, light, box_quads(x1, y, 0, x2, y + 9, 4.3), (176, 186, 192), "matt", 0)
        paint_quads(canvas, light, box_quads(x1 - 0.3, y - 0.6, 3.3, x2 + 0.3, y + 9, 4.1), main, "matt", 0)
        sign = _sign(name + " SHOP", accent, main, 34)
        mid = (x1 + x2) / 2
        corners = np.array(
            [
                [mid - 2.8, y - 0.61, 4.0],
                [mid + 2.8, y - 0.61, 4.0],
                [mid + 2.8, y - 0.61, 3.4],
                [mid - 2.8, y - 0.61, 3.4],
            ]
        )
        canvas.texture(corners, sign, 0, 0.55 + 0.5 * max(*light.ambient, lit * 0.9))
        shelves = _shop_window(np.random.default_rng(self.seed + 5), light, lit)
        count = 5
        for k in range(count):
            a = x1 + 0.5 + k * (x2 - x1 - 1) / count
            b = a + (x2 - x1 - 1) / count - 0.25
            low = 0.1 if k == count // 2 else 0.6
            pane = np.array(
                [[a, y - 0.01, 2.95], [b, y - 0.01, 2.95], [b, y - 0.01, low], [a, y - 0.01, low]]
            )
            canvas.texture(pane, shelves[k], 0)


def sample_station(rng: np.random.Generator) -> Station:
    """A station of one or two islands, measures varied."""
    gap = float(rng.uniform(6.4, 7.4))
    shift = float(rng.uniform(-1.2, 1.2))
    near = float(rng.uniform(9.0, 10.5))
    return Station(
        islands=[shift - gap / 2, shift + gap / 2],
        pumps=[near, near + 5.4],
        pillars=[near + 2.7, near + 8.8],
        canopy=(shift - 8.5, near - 4.2, shift + 8.5, near + 11.0),
        canopy_z=float(rng.uniform(4.6, 5.2)),
        shop_y=near + float(rng.uniform(19, 23)),
        shop_x=(float(rng.uniform(-14, -9)), float(rng.uniform(4, 11))),
        livery=int(rng.integers(len(LIVERIES))),
        seed=int(rng.integers(1 << 30)),
    )


def _split(quad: Array, n: int, m: int) -> Array:
    u, v = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, m + 1), indexing="ij")
    u, v = u[..., None], v[..., None]
    p = quad[0] * (1 - u) * (1 - v) + quad[1] * u * (1 - v) + quad[2] * u * v + quad[3] * (1 - u) * v
    return np.asarray(np.stack([p[:-1, :-1], p[1:, :-1], p[1:, 1:], p[:-1, 1:]], axis=2).reshape(-1, 4, 3))


def _split_boxes(quads: Array) -> Array:
    return np.concatenate([_split(q, 1, 6) for q in quads])


def _sky(canvas: Canvas, light: Light, horizon: int, rng: np.random.Generator) -> None:
    width = canvas.buffer.shape[1]
    small = cv2.resize(
        rng.standard_normal((6, 14)).astype(np.float32), (160, 40), interpolation=cv2.INTER_CUBIC
    )
    finer = cv2.resize(
        rng.standard_normal((14, 40)).astype(np.float32), (160, 40), interpolation=cv2.INTER_CUBIC
    )
    cloud = np.clip((small + 0.5 * finer) * 0.4, 0, 1)[..., None] * 0.6
    t = np.linspace(0.35, 1, 40)[:, None, None] ** 1.4
    sky = np.array(light.zenith) * (1 - t) + np.array(light.horizon) * t
    white = np.minimum(np.array(light.horizon) * 1.1 + 8, 250)
    sky = np.clip(sky * (1 - cloud) + white * cloud, 0, 255).astype(np.uint8)
    canvas.buffer[:horizon, :, :3] = cv2.resize(sky, (width, horizon), interpolation=cv2.INTER_LINEAR)


def _trees(canvas: Canvas, light: Light, rng: np.random.Generator) -> None:
    """A row of crowns and a few far buildings beyond the road."""
    y = 60.0
    shade = np.array(light.ambient) + np.array(light.sun_colour) * 0.5
    for _ in range(7):
        x = float(rng.uniform(-52, 52))
        w, h = float(rng.uniform(5, 11)), float(rng.uniform(4, 11))
        grey = rng.uniform(110, 180) * np.array([1, 0.97, 0.94])
        quad = np.array([[[x - w, y + 8, 0], [x + w, y + 8, 0], [x + w, y + 8, h], [x - w, y + 8, h]]])
        canvas.polygons(quad, grey[None] * shade * 0.8, 0)
    for _ in range(46):
        x, z = float(rng.uniform(-48, 48)), float(rng.uniform(1.0, 5.0))
        r = float(rng.uniform(1.4, 3.2))
        green = np.array([rng.uniform(38, 60), rng.uniform(74, 108), rng.uniform(44, 74)]) * (0.7 + z / 10)
        a = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        wobble = r * (1 + rng.uniform(-0.16, 0.16, 14))
        crown = np.stack([x + np.cos(a) * wobble, np.full(14, y), z + np.sin(a) * wobble * 0.9], axis=-1)
        canvas.polygon(crown, (green * shade).tolist(), 0)


def _sign(text: str, ink: Bgr, ground: Bgr, height: int) -> NDArray[np.uint8]:
    (w, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, height / 34, 2)
    image = np.empty((height, w + 12, 3), np.uint8)
    image[:] = ground
    cv2.putText(
        image, text, (6, round(height * 0.8)), cv2.FONT_HERSHEY_DUPLEX, height / 34, ink, 2, cv2.LINE_AA
    )
    return image


def _shop_window(rng: np.random.Generator, light: Light, lit: float) -> list[NDArray[np.uint8]]:
    """Panes with shelves behind them and the sky in them."""
    panes = []
    for _ in range(5):
        pane = np.empty((60, 80, 3), np.float32)
        pane[:] = np.array([150, 196, 214]) * lit * np.linspace(1.1, 0.7, 60)[:, None, None]
        for row in range(4):
            for x in range(2, 78, 5):
                colour = rng.uniform(40, 220, 3) * (0.3 + 0.5 * lit)
                pane[14 + row * 12 : 21 + row * 12 + int(rng.integers(3)), x : x + 4] = colour
        mirror = np.array(light.zenith) * np.linspace(0.7, 0.2, 60)[:, None, None]
        mix = 0.15 + 0.4 * (1 - lit)
        panes.append(np.clip(pane * (1 - mix) + mirror * mix, 0, 255).astype(np.uint8))
    return panes
