"""Curved surfaces as grids of small flat quads, shaded as paint, glass, metal, plastic or light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .camera import Array
from .canvas import Canvas
from .light import Light

Patch = Callable[[Array, Array], Array]
"""Maps parameters u, v (same shape) to points (..., 3) in metres."""

MATERIALS = {
    # gloss at grazing view, gloss head-on
    "paint": (0.55, 0.09),
    "glass": (0.75, 0.22),
    "chrome": (0.80, 0.62),
    "plastic": (0.22, 0.02),
    "matt": (0.0, 0.0),
}


def grid(patch: Patch, us: Array, vs: Array) -> Array:
    """Quads (N, 4, 3) over the parameter lattice us x vs, counter-clockwise seen from the patch's outside."""
    u, v = np.meshgrid(us, vs, indexing="ij")
    p = patch(u, v)
    quads = np.stack([p[:-1, :-1], p[1:, :-1], p[1:, 1:], p[:-1, 1:]], axis=2)
    return np.asarray(quads.reshape(-1, 4, 3))


def rounded_grid(patch: Patch, box: tuple[float, float, float, float], corner: float, n: int = 9) -> Array:
    """Quads over the parameter rectangle `box` (u1, v1, u2, v2) with corners rounded by `corner` 0-1."""
    u1, v1, u2, v2 = box
    mid, half = (u1 + u2) / 2, (u2 - u1) / 2

    def rounded(u: Array, v: Array) -> Array:
        t = np.clip((np.abs(v) - (1 - corner)) / max(corner, 1e-6), 0, 1)
        width = 1 - corner * 0.6 * (1 - np.sqrt(1 - t * t))
        return patch(mid + half * u * width, (v1 + v2) / 2 + (v2 - v1) / 2 * v)

    return grid(rounded, np.linspace(-1, 1, n), np.linspace(-1, 1, n))


def normals_of(quads: Array) -> Array:
    """Unit normals (N, 3) of quads (N, 4, 3)."""
    cross = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    return np.asarray(cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-9))


def shaded(
    quads: Array, albedo: Array, material: str, light: Light, eye: Array, shade: float = 1.0
) -> tuple[Array, Array]:
    """(quads that face the eye, their colours BGR 0-255)."""
    normals = normals_of(quads)
    centres = quads.mean(axis=1)
    view = eye - centres
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    cosine = np.sum(normals * view, axis=1)
    keep = cosine > 0
    quads, normals, centres, view, cosine = (
        quads[keep],
        normals[keep],
        centres[keep],
        view[keep],
        cosine[keep],
    )
    colours = light.lit(albedo, normals, shade)
    edge, head_on = MATERIALS[material]
    if edge:
        rays = 2 * cosine[:, None] * normals - view
        gloss = (head_on + (edge - head_on) * (1 - cosine) ** 3)[:, None]
        colours = (
            colours * (1 - gloss) + light.mirrored(centres, rays, 0.6 if material == "paint" else 0.3) * gloss
        )
    return quads, colours


def paint_quads(
    canvas: Canvas,
    light: Light,
    quads: Array,
    albedo: tuple[float, float, float],
    material: str,
    tag: int,
    shade: float = 1.0,
) -> None:
    """Shades quads (N, 4, 3 in metres) and paints those that face the camera, nearest last."""
    visible, colours = shaded(quads, np.array(albedo), material, light, canvas.camera.eye, shade)
    canvas.polygons(visible, colours, tag, sort=True)


def box_quads(x1: float, y1: float, z1: float, x2: float, y2: float, z2: float) -> Array:
    """The six faces (6, 4, 3) of an upright box, outsides counter-clockwise."""
    a, b, c, d = (x1, y1), (x2, y1), (x2, y2), (x1, y2)

    def wall(p: tuple[float, float], q: tuple[float, float]) -> list[tuple[float, float, float]]:
        return [(*p, z1), (*q, z1), (*q, z2), (*p, z2)]

    faces = [
        wall(a, b),
        wall(b, c),
        wall(c, d),
        wall(d, a),
        [(*a, z2), (*b, z2), (*c, z2), (*d, z2)],
        [(*d, z1), (*c, z1), (*b, z1), (*a, z1)],
    ]
    return np.array(faces, dtype=np.float64)
