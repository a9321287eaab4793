"""What every appearance encoder shares: what its pictures become, and what its features must be.

Re-identification's convention: a crop is stretched to the encoder's input whatever its proportions,
with Pillow's antialiased bilinear filter (torchreid's and fast-reid's `Resize((height, width))`),
and turned from blue-green-red to red-green-blue. Features are compared by the cosine, so rows are
brought to length one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.metadata import Metadata, Triple
from siwatsystem.runtime.postprocess import Floats

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """Height and width that crops are stretched to; `mean` and `std` normalise RGB values of 0–1."""

    size: tuple[int, int]
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


class NotAnEncoder(ModelInvalid):
    """The model is whole, but no appearance encoder can be made of it."""


class Encoder(Protocol):
    """An encoder on a device. `features` is called by one thread at a time."""

    @property
    def precision(self) -> Precision: ...

    @property
    def runtime(self) -> str:
        """`openvino`, `torch` or `onnx`."""
        ...

    @property
    def input(self) -> EncoderInput: ...

    def features(self, batch: Image) -> Floats:
        """N × D for N × H × W × 3 pictures (BGR, 8 bits) of the input's size.

        Raises RuntimeError where the runtime fails.
        """
        ...

    def close(self) -> None: ...


def input_of(metadata: Metadata, name: str) -> EncoderInput:
    """What the encoder made of a classification model takes. Raises NotAnEncoder for other models."""
    if metadata.task != "classify":
        raise NotAnEncoder(
            f"{name}: a {metadata.task} model has no features of a whole picture; "
            "an appearance encoder is a classification model or a re-identification network (.onnx)"
        )
    return EncoderInput(metadata.input_size, metadata.mean, metadata.std)


def stretched(images: Sequence[Image], size: tuple[int, int]) -> Image:
    """N × H × W × 3: every picture (BGR, H×W×3, any size from 1×1) brought to `size`.

    Raises ValueError for what is no picture.
    """
    from PIL import Image as Pillow

    height, width = size
    batch = np.empty((len(images), height, width, 3), np.uint8)
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"an array of shape {image.shape} is no picture of height × width × 3")
        picture = Pillow.fromarray(np.ascontiguousarray(image))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Pillow.Resampling.BILINEAR)
        batch[index] = np.asarray(picture)
    return batch


def unit_rows(features: Floats) -> Floats:
    """Rows of length one; a row of zeros stays. Raises RuntimeError where a number is not finite."""
    if not np.isfinite(features).all():
        raise RuntimeError("the appearance encoder gave numbers that are not finite")
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
