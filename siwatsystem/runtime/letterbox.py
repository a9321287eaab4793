"""Letterboxing as the reference does it: scale to fit, pad with grey, boxes back again.

Source of the algorithm: ultralytics' `LetterBox` and `scale_boxes`; rounding follows them to the pixel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siwatsystem.frames import Image

_GREY = (114, 114, 114)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture of `height`×`width` pixels comes to lie: scaled to `inner`, padded to `size`.

    `inner` and `size` are height and width in pixels, `top` and `left` the padding before it.
    """

    height: int
    width: int
    inner: tuple[int, int]
    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        return self.inner[0] + self.top + self.bottom, self.inner[1] + self.left + self.right

    def apply(self, image: Image) -> Image:
        """The padded picture, `size` × 3, 8 bits."""
        import cv2

        height, width = self.inner
        if image.shape[:2] != self.inner:
            image = _image(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
        if self.size == self.inner:
            return np.ascontiguousarray(image)
        border = (self.top, self.bottom, self.left, self.right)
        return _image(cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=_GREY))

    def restore(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """`boxes` (N×4, xyxy in letterboxed pixels) in the picture's own pixels, clipped to it."""
        size = self.size
        gain = min(size[0] / self.height, size[1] / self.width)
        inner = max(round(self.height * gain), 1), max(round(self.width * gain), 1)
        pad_x, pad_y = round((size[1] - inner[1]) / 2 - 0.1), round((size[0] - inner[0]) / 2 - 0.1)
        gain_x, gain_y = np.float32(inner[1] / self.width), np.float32(inner[0] / self.height)
        out = np.empty_like(boxes)
        out[:, 0::2] = ((boxes[:, 0::2] - pad_x) / gain_x).clip(0, self.width)
        out[:, 1::2] = ((boxes[:, 1::2] - pad_y) / gain_y).clip(0, self.height)
        return out


def letterbox(height: int, width: int, target: tuple[int, int], stride: int | None = 32) -> Letterbox:
    """How a picture is brought to `target` (height, width).

    With a `stride` the result is the least rectangle whose sides are multiples of it (the
    reference's `rect`), without one it is `target` itself.
    """
    ratio = min(target[0] / height, target[1] / width)
    inner = max(round(height * ratio), 1), max(round(width * ratio), 1)
    rest_h, rest_w = target[0] - inner[0], target[1] - inner[1]
    if stride is not None:
        rest_h, rest_w = rest_h % stride, rest_w % stride
    half_h, half_w = rest_h / 2, rest_w / 2
    return Letterbox(
        height,
        width,
        inner,
        top=round(half_h - 0.1),
        left=round(half_w - 0.1),
        bottom=round(half_h + 0.1),
        right=round(half_w + 0.1),
    )


def _image(value: Any) -> Image:
    return value
