"""TensorRT: `.engine` files built by ultralytics' exporter, on an NVIDIA GPU."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.devices import use_cuda
from siwatsystem.runtime.groups import infer_grouped
from siwatsystem.runtime.metadata import Described, Metadata, from_ultralytics
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.task import task_of

_MAX_HEADER = 1 << 20


class TensorRTBackend(Described):
    """An engine on the first GPU. Its precision is the one it was built in."""

    runtime = "tensorrt"
    concurrency = 1

    def __init__(self, path: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `path`. Raises ModelInvalid, also where TensorRT or a GPU is missing."""
        values = read_header(path)
        self.metadata = _metadata(values)
        self.precision: Precision = precision
        if importlib.util.find_spec("tensorrt") is None:
            raise ModelInvalid(f"{path.name} needs tensorrt, which is not installed")
        if not use_cuda(settings):
            raise ModelInvalid(f"{path.name} needs an NVIDIA GPU")
        silence()
        import torch
        from ultralytics.nn.autobackend import AutoBackend

        self.batch_size = int(values.get("batch", 1))
        self._task = task_of(self.metadata)
        self._device: Any = torch.device("cuda:0")
        self._network: Any = AutoBackend(model=str(path), device=self._device, verbose=False)

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture, in order. Raises RuntimeError where TensorRT fails."""
        predictions: list[Prediction] = []
        for start in range(0, len(pictures), self.batch_size):
            part = pictures[start : start + self.batch_size]
            predictions.extend(infer_grouped(self._task, part, self._forward))
        return predictions

    def close(self) -> None:
        self._network = None

    def _forward(self, batch: Image, least: float) -> list[Floats]:
        import torch

        count = len(batch)
        if not self.metadata.dynamic and count < self.batch_size:
            padding = np.zeros((self.batch_size - count, *batch.shape[1:]), np.uint8)
            batch = np.concatenate((batch, padding))
        with torch.inference_mode():
            pictures = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).contiguous().flip(1)
            pictures = (pictures.half() if self._network.fp16 else pictures.float()).div_(255)
            output = self._network(pictures)
            output = output[0] if isinstance(output, list | tuple) else output
            return list(output.float().cpu().numpy()[:count])


def read_header(path: Path) -> dict[str, Any]:
    """The metadata before the engine: four bytes of length, then JSON. Raises ModelInvalid."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(4), "little")
        text = stream.read(length) if 0 < length <= _MAX_HEADER else b""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ModelInvalid(f"{path.name}: no engine that ultralytics' exporter wrote")
    return values  # pyright: ignore[reportUnknownVariableType]


def read_metadata(path: Path) -> Metadata:
    """Task, names and input of an engine. Raises ModelInvalid, FileNotFoundError."""
    return _metadata(read_header(path))


def _metadata(values: dict[str, Any]) -> Metadata:
    arguments = values.get("args")
    dynamic = bool(arguments.get("dynamic")) if isinstance(arguments, dict) else False  # pyright: ignore
    return from_ultralytics(values, dynamic)
