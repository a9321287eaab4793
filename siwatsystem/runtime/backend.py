"""What every runtime offers: one loaded model, pictures in, predictions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from siwatsystem.detections import Prediction
from siwatsystem.frames import Image
from siwatsystem.views import View

Task = Literal["detect", "classify"]
Precision = Literal["exact", "fast"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture for a model, and the least confidence of boxes that are wanted.

    A view, which only *fast* models are given, may be sampled; H×W×3 BGR pixels are taken as they are.
    """

    image: Image | View
    min_confidence: float = 0.25


class Backend(Protocol):
    """A model on a device. `infer` is called by at most `concurrency` threads at a time."""

    @property
    def task(self) -> Task: ...

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that the model's pictures are brought to."""
        ...

    @property
    def precision(self) -> Precision: ...

    @property
    def runtime(self) -> str:
        """`openvino`, `torch`, `onnx` or `tensorrt`."""
        ...

    @property
    def batch_size(self) -> int:
        """Most pictures that one call gains from; 1 where batching gains nothing."""
        ...

    @property
    def concurrency(self) -> int:
        """How many threads may call `infer` at a time."""
        ...

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture, in order; boxes are in that picture's own pixels."""
        ...

    def close(self) -> None: ...
