"""Pictures into a detection network, its output into detections."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from siwatsystem.detections import Detection
from siwatsystem.frames import Image
from siwatsystem.runtime.letterbox import Letterbox, letterbox
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.postprocess import Floats, boxes_of
from siwatsystem.views import View


@dataclass(frozen=True, slots=True)
class Detect:
    """Preparation and reading for one detection model."""

    metadata: Metadata

    def prepare(self, image: Image | View) -> tuple[Image, Letterbox]:
        """The network's input (height × width × 3 BGR, 8 bits) and what maps boxes back. A view is
        sampled: nothing but the pixels that the network needs is converted."""
        height, width = image.shape[:2]
        box = self.plan(height, width)
        return box.apply(image.sampled(box.inner) if isinstance(image, View) else image), box

    def plan(self, height: int, width: int) -> Letterbox:
        stride = self.metadata.stride if self.metadata.dynamic else None
        return letterbox(height, width, self.metadata.input_size, stride)

    def finish(self, raw: Floats, box: Any, min_confidence: float) -> tuple[Detection, ...]:
        """`raw`: the network's output for one picture; `box`: what `prepare` gave."""
        rows = boxes_of(raw, min_confidence, self.metadata.end2end)
        corners = box.restore(np.ascontiguousarray(rows[:, :4])).tolist()
        names = self.metadata.names
        return tuple(
            Detection(names[int(index)], min(confidence, 1.0), (x1, y1, x2, y2))
            for (x1, y1, x2, y2), (confidence, index) in zip(corners, rows[:, 4:6].tolist(), strict=True)
        )
