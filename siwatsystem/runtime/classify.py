"""Pictures into a classification network, its output into a classification.

Source of the preparation: ultralytics' `classify_transforms`, that is torchvision's `Resize` of the
shorter edge (Pillow, bilinear with antialiasing) and `CenterCrop`, done here without torch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from siwatsystem.detections import Classification
from siwatsystem.frames import Image
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.views import View


@dataclass(frozen=True, slots=True)
class Classify:
    """Preparation and reading for one classification model."""

    metadata: Metadata

    def prepare(self, image: Image | View) -> tuple[Image, None]:
        """The network's input: height × width × 3 BGR, 8 bits."""
        if isinstance(image, View):
            image = image.sampled()
        return resize_and_crop(image, self.metadata.input_size), None

    def finish(self, raw: Floats, box: Any, min_confidence: float) -> Classification:
        """`raw`: a probability per class. A classification has no least confidence here."""
        names = self.metadata.names
        values = raw.tolist()
        best = int(raw.argmax())
        return Classification(names[best], values[best], {names[i]: value for i, value in enumerate(values)})


def resize_and_crop(image: Image, size: tuple[int, int]) -> Image:
    """The middle of `image` after its shorter edge was scaled; stretched where `size` is no square."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    from PIL import Image as Pillow

    wanted_h, wanted_w = size
    picture = Pillow.fromarray(np.ascontiguousarray(image))
    height, width = scaled_size(image.shape[0], image.shape[1], size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Pillow.Resampling.BILINEAR)
    top, left = round((height - wanted_h) / 2.0), round((width - wanted_w) / 2.0)
    return np.asarray(picture)[top : top + wanted_h, left : left + wanted_w]


def scaled_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width before the middle is cut out."""
    if size[0] != size[1]:
        return size
    edge = size[0]
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)
