"""A stage whose still parts are painted once: the same pictures as `Stage.shoot`, in less time.

Everything here is painted opaquely, so a thing can be painted once on its own and laid over the
picture again wherever it has not moved: pumps and pillars always, cars while they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas
from .car import Car, CarPainter
from .scene import Scene, Stage
from .truth import Footprint, truth_of

NOTHING = 255
"""Tag of what no layer has painted."""


@dataclass(frozen=True)
class Layer:
    """A cut-out: `pixels` uint8 (h, w, 4) with tags, `mask` uint8 (h, w), its corner in the buffer."""

    x: int
    y: int
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    def lay(self, canvas: Canvas) -> None:
        height, width = self.mask.shape
        if height and width:
            cv2.copyTo(
                self.pixels, self.mask, canvas.buffer[self.y : self.y + height, self.x : self.x + width]
            )

    def footprint(self, tag: int) -> Footprint:
        """Pixels of a car that was painted with `tag`."""
        front = int(np.count_nonzero(self.pixels[..., 3] == tag + 1))
        return Footprint(int(np.count_nonzero(self.pixels[..., 3] == tag)) + front, front)


class StillStage:
    """A stage, shot again and again. Not to be used by two threads at once."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._canvas = Canvas(stage.camera, stage.supersample)
        self._scratch = Canvas(stage.camera, stage.supersample)
        self._scratch.buffer[...] = NOTHING
        self._behind = self._backdrop()
        self._standing = [
            (self._distance(place), self._layer(lambda canvas, draw=draw: draw(canvas, stage.light, 0)))
            for place, draw in stage.station.standing()
        ]
        self._parked: dict[int, tuple[Car, Layer]] = {}

    def shoot(self, cars: Sequence[Car], seed: int, tags: Sequence[int]) -> Scene:
        """The picture of these cars; `tags` (odd, below 254) tell them apart from frame to frame."""
        stage, canvas = self.stage, self._canvas
        canvas.buffer[...] = 0
        stage.ground.lay(canvas, list(cars))
        self._behind.lay(canvas)
        layers = [self._car(car, tag) for car, tag in zip(cars, tags, strict=True)]
        things = [
            (self._distance(np.array([car.x, car.y])), layer) for car, layer in zip(cars, layers, strict=True)
        ]
        for _, layer in sorted(things + self._standing, key=lambda thing: -thing[0]):
            layer.lay(canvas)
        truths = [
            truth_of(car, tag, canvas.tags, layer.footprint(tag), stage.camera)
            for car, tag, layer in zip(cars, tags, layers, strict=True)
        ]
        image = stage.lens.expose(canvas.picture(), stage.camera, stage.light, list(cars), seed)
        return Scene(image, truths, canvas.tags.copy(), stage.light.name)

    def _distance(self, place: NDArray[np.float64]) -> float:
        return float(np.hypot(*(place - self.stage.camera.eye[:2])))

    def _car(self, car: Car, tag: int) -> Layer:
        known = self._parked.get(tag)
        if known is not None and known[0] == car:
            return known[1]
        layer = self._layer(lambda canvas: CarPainter(canvas, self.stage.light, car, tag).paint())
        self._parked[tag] = (car, layer)
        return layer

    def _layer(self, paint: Callable[[Canvas], None]) -> Layer:
        """What `paint` covers; it is wiped off the scratch canvas again."""
        scratch = self._scratch
        paint(scratch)
        return self._cut((scratch.tags != NOTHING).view(np.uint8))

    def _backdrop(self) -> Layer:
        """Sky, trees, shop and canopy; the sky is filled in without its tag, down to the horizon."""
        stage, scratch = self.stage, self._scratch
        stage.station.backdrop(scratch, stage.light)
        stage.station.roof(scratch, stage.light)
        sky = scratch.tags[: max(0, round(stage.camera.horizon_px * scratch.scale))]
        sky[...] = 0
        return self._cut((scratch.tags != NOTHING).view(np.uint8))

    def _cut(self, mask: NDArray[np.uint8]) -> Layer:
        x, y, width, height = cv2.boundingRect(mask)
        cut = np.s_[y : y + height, x : x + width]
        pixels = self._scratch.buffer[cut].copy()
        self._scratch.buffer[cut] = NOTHING
        return Layer(x, y, pixels, mask[cut].copy())
