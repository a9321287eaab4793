"""ONNX: encoders as they were exported, and classification networks cut before their last layer.

A network without the metadata of ultralytics' exporter is taken for a re-identification network of
its own: N × 3 × H × W in, one N × D out. Pictures are then normalised with ImageNet's mean and
standard deviation, as such networks are trained (torchreid, fast-reid), unless its metadata names
`mean` and `std` (three numbers each, for red, green, blue of 0–1). Ultralytics' own encoders
(metadata with its author, no classes) take values of 0–1 as they are. Where height or width is open,
metadata's `imgsz` says it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.encoder import IMAGENET_MEAN, IMAGENET_STD, EncoderInput, input_of
from siwatsystem.runtime.metadata import literal, size_of, triple
from siwatsystem.runtime.onnx import TENSOR_TYPES, input_sides, read, read_metadata, runtime_errors, session
from siwatsystem.runtime.postprocess import Floats

_AFTER_LAST_LINEAR = {"Softmax", "Add", "Cast", "Identity"}
_LINEAR = {"Gemm", "MatMul"}
_ENCODER_TASKS = ("reid", "embed")


class OnnxEncoder:
    """An encoder in an ONNX Runtime session."""

    runtime = "onnx"

    def __init__(self, path: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `path`. Raises ModelInvalid, ModelRefused (external data)."""
        if precision != "exact":
            raise ModelInvalid("ONNX Runtime serves an .onnx in the precision it was exported in")
        self.precision: Precision = precision
        self.input, classifies = recipe(path)
        model = read(path)
        if classifies:
            _cut(model, path.name)
        self._session: Any = session(model.SerializeToString(), path.name, settings)
        node = self._session.get_inputs()[0]
        if node.type not in TENSOR_TYPES:
            raise ModelInvalid(f"{path.name}: takes {node.type}, which is no picture")
        self._name, self._type = node.name, TENSOR_TYPES[node.type]
        mean, std = np.array(self.input.mean, np.float32), np.array(self.input.std, np.float32)
        self._mean, self._std = mean.reshape(3, 1, 1), std.reshape(3, 1, 1)

    def features(self, batch: Image) -> Floats:
        """N × D for N pictures of the input's size. Raises RuntimeError where ONNX Runtime fails."""
        return np.concatenate([self._features(picture) for picture in batch])

    def close(self) -> None:
        self._session = None

    def _features(self, picture: Image) -> Floats:
        planes = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)).astype(np.float32)
        planes = (planes / np.float32(255) - self._mean) / self._std
        try:
            outputs = self._session.run(None, {self._name: planes.astype(self._type, copy=False)[None]})
        except runtime_errors() as error:
            raise RuntimeError(str(error)) from error
        return outputs[0].reshape(1, -1).astype(np.float32, copy=False)


def recipe(path: Path) -> tuple[EncoderInput, bool]:
    """What the encoder in an `.onnx` takes, and whether it is a classification network to be cut.

    Raises ModelInvalid for what is no encoder, ModelRefused for a model that reads further files.
    """
    model = read(path)
    found: dict[str, Any] = {item.key: literal(item.value) for item in model.metadata_props}
    task = found.get("task")
    if task is not None and task not in _ENCODER_TASKS:
        return input_of(read_metadata(path), path.name), True
    sides = input_sides(path, model)
    outputs = [len(output.type.tensor_type.shape.dim) for output in model.graph.output]
    if len(outputs) != 1 or outputs[0] not in (0, 2):
        raise ModelInvalid(f"{path.name}: an appearance encoder has one output, rows of features (N × D)")
    if not all(sides[2:]) and "imgsz" not in found:
        raise ModelInvalid(f"{path.name}: its input size is open and its metadata names none (`imgsz`)")
    size = found["imgsz"] if not all(sides[2:]) else sides[2:]
    mean, std = _normalisation(found)
    return EncoderInput(size_of([size, size] if isinstance(size, int) else size), mean, std), False


def _normalisation(found: Mapping[str, Any]) -> tuple[Any, Any]:
    if "mean" in found or "std" in found:
        std = triple(found.get("std", (1.0, 1.0, 1.0)))
        if not all(std):
            raise ModelInvalid("the model's metadata names a standard deviation of 0")
        return triple(found.get("mean", (0.0, 0.0, 0.0))), std
    if found.get("task") in _ENCODER_TASKS or found.get("author") == "Ultralytics":
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return IMAGENET_MEAN, IMAGENET_STD


def _cut(model: Any, name: str) -> None:
    """Let a classification network end where its features go into its last linear layer."""
    import onnx

    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _AFTER_LAST_LINEAR:
        made = [makers[one] for one in node.input if one in makers and makers[one].op_type != "Constant"]
        model.graph.node.remove(node)
        node = made[0] if made else None
    if node is None or node.op_type not in _LINEAR:
        raise ModelInvalid(f"{name}: ends in {node.op_type if node else 'nothing'}, not in a linear layer")
    features = node.input[0]
    model.graph.node.remove(node)
    del model.graph.output[:]
    # A name without a type: the session infers it, in whichever precision the network was exported.
    model.graph.output.append(onnx.ValueInfoProto(name=features))
