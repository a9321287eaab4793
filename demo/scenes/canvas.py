"""The picture being painted: polygons back to front, with an id buffer in the fourth channel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import NEAR_M, Array, Camera

SHIFT = 4
LIMIT_PX = 20_000.0


class Canvas:
    """A supersampled BGR picture whose fourth channel holds, per pixel, the tag of what covers it."""

    def __init__(self, camera: Camera, supersample: float) -> None:
        self.camera = camera
        self.scale = supersample
        width, height = camera.size
        self.buffer = np.zeros((round(height * supersample), round(width * supersample), 4), np.uint8)

    @property
    def tags(self) -> NDArray[np.uint8]:
        """The id buffer, supersampled."""
        return self.buffer[..., 3]

    def picture(self) -> NDArray[np.uint8]:
        """The anti-aliased picture, uint8 HxWx3 BGR in the camera's size."""
        bgr = cv2.cvtColor(self.buffer, cv2.COLOR_BGRA2BGR)
        return np.asarray(cv2.resize(bgr, self.camera.size, interpolation=cv2.INTER_AREA))

    def polygons(self, points: Array, colours: Array, tag: int = 0, sort: bool = False) -> None:
        """Fills convex polygons (N, K, 3 in metres) with colours (N, 3 BGR); nearest last where `sort`."""
        pixels, depth = self.camera.project(points)
        order = np.argsort(-depth.mean(axis=1), kind="stable") if sort else np.arange(len(points))
        order = order[(depth > NEAR_M).all(axis=1)[order]]
        self._fill(pixels[order], colours[order], tag)

    def polygon(self, points: Array, colour: Sequence[float], tag: int = 0) -> None:
        """Fills one polygon (K, 3 in metres), concave or not."""
        pixels, depth = self.camera.project(points)
        if (depth > NEAR_M).all():
            cv2.fillPoly(self.buffer, [self._fixed(pixels)], (*_clip(colour), tag), cv2.LINE_8, SHIFT)

    def facing(self, points: Array) -> bool:
        """Whether a polygon (K, 3), counter-clockwise from its outside, shows its outside."""
        pixels, depth = self.camera.project(points)
        x, y = pixels[:, 0], pixels[:, 1]
        area = float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
        return bool((depth > NEAR_M).all()) and area < 0

    def line(self, points: Array, colour: Sequence[float], width_m: float, tag: int = 0) -> None:
        """Strokes a polyline (K, 3 in metres) of a thickness in metres."""
        pixels, depth = self.camera.project(points)
        if (depth > NEAR_M).all():
            thickness = max(1, round(width_m * self.camera.focal_px * self.scale / float(depth.mean())))
            cv2.polylines(
                self.buffer, [self._fixed(pixels)], False, (*_clip(colour), tag), thickness, cv2.LINE_8, SHIFT
            )

    def texture(self, corners: Array, image: NDArray[np.uint8], tag: int = 0, gain: float = 1.0) -> None:
        """Maps an image onto a quad (4, 3: top left, top right, bottom right, bottom left as seen)."""
        pixels, depth = self.camera.project(corners)
        if not (depth > NEAR_M).all():
            return
        quad = np.clip(pixels * self.scale, -LIMIT_PX, LIMIT_PX)
        x1, y1 = np.maximum(np.floor(quad.min(axis=0)).astype(int), 0)
        x2, y2 = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + 1, self.buffer.shape[1::-1])
        if x2 - x1 < 2 or y2 - y1 < 2:
            return
        height, width = image.shape[:2]
        source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, (quad - [x1, y1]).astype(np.float32))
        shrink = width / max(4.0, float(np.linalg.norm(quad[1] - quad[0])))
        image = cv2.blur(image, (int(shrink), int(shrink))) if shrink >= 2 else image
        shaded = cv2.convertScaleAbs(image, alpha=gain)
        tagged = np.dstack([shaded, np.full((height, width), tag, np.uint8)])
        size = (int(x2 - x1), int(y2 - y1))
        warped = cv2.warpPerspective(tagged, matrix, size, flags=cv2.INTER_LINEAR)
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(mask, np.round(quad - [x1, y1]).astype(np.int32), 255)
        warped[..., 3] = tag
        cv2.copyTo(warped, mask, self.buffer[y1:y2, x1:x2])

    def _fixed(self, pixels: Array) -> NDArray[np.int32]:
        clipped = np.clip(pixels * self.scale, -LIMIT_PX, LIMIT_PX)
        return np.round(clipped * (1 << SHIFT)).astype(np.int32)

    def _fill(self, pixels: Array, colours: Array, tag: int) -> None:
        fixed = self._fixed(pixels)
        tagged = np.column_stack([np.clip(colours, 0, 255), np.full(len(colours), float(tag))])
        buffer = self.buffer
        for polygon, colour in zip(fixed, tagged.tolist(), strict=True):
            cv2.fillConvexPoly(buffer, polygon, colour, cv2.LINE_8, SHIFT)


def _clip(colour: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(min(255.0, max(0.0, c))) for c in colour)
