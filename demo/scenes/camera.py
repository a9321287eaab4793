"""A pinhole camera on a pole.

World axes: x to the right, y away from the camera, z up, in metres. The camera never rolls, so that
the horizon is one picture row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NEAR_M = 0.6


@dataclass(frozen=True)
class Camera:
    """Where the camera stands, where it looks and how wide; `size` is (width, height) in pixels."""

    position: tuple[float, float, float]
    pan_rad: float
    tilt_rad: float
    hfov_rad: float
    size: tuple[int, int]

    @cached_property
    def focal_px(self) -> float:
        return self.size[0] / 2 / float(np.tan(self.hfov_rad / 2))

    @cached_property
    def rotation(self) -> Array:
        """3x3: world to camera axes (right, down, forward)."""
        cp, sp = np.cos(self.pan_rad), np.sin(self.pan_rad)
        ct, st = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        right = np.array([cp, -sp, 0.0])
        forward = np.array([sp * ct, cp * ct, -st])
        return np.stack([right, np.cross(forward, right), forward])

    @cached_property
    def eye(self) -> Array:
        return np.asarray(self.position, dtype=np.float64)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels (..., 2) and depth in metres (...,) of world points (..., 3)."""
        local = (points - self.eye) @ self.rotation.T
        depth = local[..., 2]
        safe = np.maximum(depth, NEAR_M)
        centre = np.array(self.size) / 2
        return local[..., :2] / safe[..., None] * self.focal_px + centre, depth

    def ground_homography(self) -> Array:
        """3x3: ground (x, y, 1) in metres to homogeneous pixels."""
        width, height = self.size
        intrinsic = np.array([[self.focal_px, 0, width / 2], [0, self.focal_px, height / 2], [0, 0, 1.0]])
        columns = [self.rotation[:, 0], self.rotation[:, 1], -self.rotation @ self.eye]
        return intrinsic @ np.stack(columns, axis=1)

    @property
    def horizon_px(self) -> float:
        """The row on which the horizon lies (may be above the picture)."""
        return self.size[1] / 2 - self.focal_px * float(np.tan(self.tilt_rad))
