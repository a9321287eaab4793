"""ONNX Runtime: `.onnx` files with the metadata that ultralytics' exporter writes into them."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.cores import cores_under_quota
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.devices import use_cuda
from siwatsystem.runtime.metadata import Described, Metadata, from_ultralytics
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.task import task_of

TENSOR_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxBackend(Described):
    """A network in an ONNX Runtime session; two threads may call `infer` at a time."""

    runtime = "onnx"
    batch_size = 1
    concurrency = 2

    def __init__(self, path: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `path`. Raises ModelInvalid, ModelRefused (external data)."""
        if precision != "exact":
            raise ModelInvalid("ONNX Runtime serves an .onnx in the precision it was exported in")
        self.precision: Precision = precision
        self.metadata = read_metadata(path)
        self._session: Any = session(str(path), path.name, settings)
        (node, *others) = self._session.get_inputs()
        if others or node.type not in TENSOR_TYPES:
            raise ModelInvalid(f"{path.name}: takes {1 + len(others)} inputs of {node.type}, not one picture")
        self._input, self._type = node.name, TENSOR_TYPES[node.type]
        self._task = task_of(self.metadata)
        shape = (np.array(self.metadata.mean, np.float32), np.array(self.metadata.std, np.float32))
        self._mean, self._std = (values.reshape(3, 1, 1) for values in shape)

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture, in order. Raises RuntimeError where ONNX Runtime fails."""
        return [self._infer(picture) for picture in pictures]

    def close(self) -> None:
        self._session = None

    def _infer(self, picture: Picture) -> Prediction:
        image, box = self._task.prepare(picture.image)
        outputs: list[Floats] = self._session.run(None, {self._input: self._tensor(image)[None]})
        raw = outputs[0][0].astype(np.float32, copy=False)
        return self._task.finish(raw, box, picture.min_confidence)

    def _tensor(self, image: Image) -> Any:
        planes = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)).astype(np.float32)
        planes /= np.float32(255)
        return ((planes - self._mean) / self._std).astype(self._type, copy=False)


def read_metadata(path: Path) -> Metadata:
    """Task, names and input of an `.onnx`.

    Raises ModelRefused for a model that reads further files, ModelInvalid where something is
    missing or the shapes make no sense.
    """
    model = read(path)
    sides = input_sides(path, model)
    dynamic = 0 in sides[2:]
    found: dict[str, Any] = {item.key: item.value for item in model.metadata_props}
    if not dynamic:
        found["imgsz"] = sides[2:]
    metadata = from_ultralytics(found, dynamic)
    _check_output(path, model, metadata)
    return metadata


def input_sides(path: Path, model: Any) -> list[int]:
    """The shape of the one picture that `model` takes, 0 for what is open. Raises ModelInvalid."""
    used = {tensor.name for tensor in model.graph.initializer}
    inputs = [node for node in model.graph.input if node.name not in used]
    if len(inputs) != 1:
        raise ModelInvalid(f"{path.name}: has {len(inputs)} inputs, not one picture")
    sides = [int(side.dim_value) for side in inputs[0].type.tensor_type.shape.dim]
    if len(sides) != 4 or sides[1] not in (0, 3) or sides[0] not in (0, 1):
        raise ModelInvalid(f"{path.name}: its input of shape {sides} is no 1×3×H×W picture")
    return sides


def read(path: Path) -> Any:
    """The network (ModelProto), which brings along all that it needs.

    Raises ModelRefused for one that reads further files, ModelInvalid, FileNotFoundError.
    """
    model = _parse(path)
    if any(tensor.data_location == tensor.EXTERNAL for tensor in _tensors(model)):
        raise ModelRefused(f"{path.name}: keeps its weights in other files, which an archive may not name")
    return model


def _parse(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise ModelInvalid(f"{path.name} is no ONNX model ({type(error).__name__})") from None
    if not model.graph.node:
        raise ModelInvalid(f"{path.name} is no ONNX model (it holds no network)")
    return model


def _tensors(model: Any) -> Iterator[Any]:
    """Every constant of the model, those inside of loops, branches and functions too."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs.extend(attribute.graphs)
            if attribute.HasField("g"):
                graphs.append(attribute.g)


def _check_output(path: Path, model: Any, metadata: Metadata) -> None:
    if not model.graph.output:
        raise ModelInvalid(f"{path.name}: the network has no output")
    sides = [int(side.dim_value) for side in model.graph.output[0].type.tensor_type.shape.dim]
    classes = len(metadata.names)
    if metadata.task == "detect":
        fits = len(sides) in (0, 3) and (not sides or sides[1] in (0, classes + 4) or sides[2] == 6)
    else:
        fits = len(sides) in (0, 2) and (not sides or sides[1] in (0, classes))
    if not fits:
        raise ModelInvalid(
            f"{path.name}: its output of shape {sides} does not fit {metadata.task} with {classes} classes"
        )


def session(model: str | bytes, name: str, settings: RuntimeSettings) -> Any:
    """An ONNX Runtime session of a file's path or bytes. Raises ModelInvalid."""
    silence()
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or cores_under_quota()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if use_cuda(settings) and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except runtime_errors() as error:
        line = str(error).strip().splitlines()[0][:200]
        raise ModelInvalid(f"{name}: ONNX Runtime cannot load it ({line})") from None


def runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's errors, which share no base class below Exception."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    values = [value for value in vars(state).values() if isinstance(value, type)]
    return (RuntimeError, ValueError, *(value for value in values if issubclass(value, Exception)))
