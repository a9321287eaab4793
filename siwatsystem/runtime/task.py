"""The part of a backend that depends on what a model is for, not on what runs it."""

from typing import Any, Protocol

from siwatsystem.detections import Prediction
from siwatsystem.frames import Image
from siwatsystem.runtime.classify import Classify
from siwatsystem.runtime.detect import Detect
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.views import View


class ModelTask(Protocol):
    """Picture → network input, network output → prediction; stateless, called from any thread."""

    def prepare(self, image: Image | View) -> tuple[Image, Any]: ...

    def finish(self, raw: Floats, box: Any, min_confidence: float) -> Prediction: ...


def task_of(metadata: Metadata) -> ModelTask:
    return Detect(metadata) if metadata.task == "detect" else Classify(metadata)
