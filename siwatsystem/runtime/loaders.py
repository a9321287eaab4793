"""Loads a file with the runtime that was chosen for it, in this process."""

from pathlib import Path
from typing import Literal

from siwatsystem.config import RuntimeSettings
from siwatsystem.runtime.backend import Backend, Precision
from siwatsystem.runtime.encoder import Encoder, input_of
from siwatsystem.runtime.metadata import Metadata

RuntimeName = Literal["torch", "openvino", "onnx", "tensorrt"]


def open_model(
    runtime: RuntimeName,
    file: Path,
    settings: RuntimeSettings,
    precision: Precision,
    metadata: Metadata | None = None,
) -> Backend:
    """The model in `file`, ready to infer; without `metadata` the file (or what lies beside it) says what
    it is. Raises ModelInvalid, ModelRefused, FileNotFoundError."""
    if runtime == "torch":
        from siwatsystem.runtime.torch import TorchBackend

        return TorchBackend(file, settings, precision)
    if runtime == "onnx":
        from siwatsystem.runtime.onnx import OnnxBackend

        return OnnxBackend(file, settings, precision)
    if runtime == "tensorrt":
        from siwatsystem.runtime.tensorrt import TensorRTBackend

        return TensorRTBackend(file, settings, precision, metadata)
    from siwatsystem.runtime import openvino, openvino_files

    model, found = openvino_files.find(file)
    return openvino.OpenVINOBackend(model, metadata or found, settings, precision)


def open_encoder(
    runtime: RuntimeName, file: Path, settings: RuntimeSettings, precision: Precision
) -> Encoder:
    """The appearance encoder in `file`. Raises ModelInvalid, ModelRefused, FileNotFoundError."""
    if runtime == "torch":
        from siwatsystem.runtime.torch_encoder import TorchEncoder

        return TorchEncoder(file, settings, precision)
    from siwatsystem.runtime import onnx_encoder

    if runtime == "onnx":
        return onnx_encoder.OnnxEncoder(file, settings, precision)
    from siwatsystem.runtime import openvino_encoder, openvino_files

    if file.suffix.lower() == ".onnx":
        taken, classifies = onnx_encoder.recipe(file)
        return openvino_encoder.OpenVINOEncoder(file, taken, settings, precision, cut=classifies)
    model, metadata = openvino_files.find(file)
    taken = input_of(metadata, file.name)
    return openvino_encoder.OpenVINOEncoder(model, taken, settings, precision, cut=True)
