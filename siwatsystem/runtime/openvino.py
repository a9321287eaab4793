"""OpenVINO on a CPU: IR models exported from weights, folders as exported, ONNX files on demand.

The network takes the padded picture as it is (8 bits, BGR, height × width × channels); colour order
and scaling are part of the graph. Networks of any input size are compiled anew for the first few
sizes that come (a compiled size is up to 1.6 times as fast as an open one), and once for all others.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.detect import Detect
from siwatsystem.runtime.metadata import Described, Metadata, Triple
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.task import task_of

MAX_COMPILED_SIZES = 4
_ANY_SIZE = (-1, -1)
_USUAL_PICTURE = 1080, 1920


class OpenVINOBackend(Described):
    """One network on this machine's processor. `infer` may be called by two threads at a time."""

    runtime = "openvino"
    batch_size = 1
    # With two calls under way one prepares and reads its picture while the other computes.
    concurrency = 2

    def __init__(
        self, model: Path, metadata: Metadata, settings: RuntimeSettings, precision: Precision = "exact"
    ) -> None:
        """Load `model` (.xml or .onnx). Raises ModelInvalid where OpenVINO cannot."""
        silence()
        import openvino

        self.metadata = metadata
        self.precision: Precision = precision
        self._model = model
        self._core = openvino.Core()
        self._config = configuration(settings, precision)
        self._task = task_of(metadata)
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, int], Any] = {}
        self._idle: dict[tuple[int, int], list[Any]] = {}
        self._compile_first()

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture. Raises RuntimeError where OpenVINO fails."""
        return [self._infer(picture) for picture in pictures]

    def close(self) -> None:
        with self._lock:
            self._idle.clear()
            self._compiled.clear()

    def _infer(self, picture: Picture) -> Prediction:
        tensor, box = self._task.prepare(picture.image)
        size, request = self._request(tensor.shape[:2])
        try:
            outputs = request.infer({0: tensor[None]}, share_inputs=True, share_outputs=True)
            return self._task.finish(outputs[0][0], box, picture.min_confidence)
        finally:
            with self._lock:
                self._idle.setdefault(size, []).append(request)

    def _request(self, size: tuple[int, ...]) -> tuple[tuple[int, int], Any]:
        """An idle request of the network compiled for pictures of `size`."""
        wanted = (size[0], size[1])
        with self._lock:
            if wanted not in self._compiled:
                full = len(self._compiled.keys() - {_ANY_SIZE}) >= MAX_COMPILED_SIZES
                wanted = _ANY_SIZE if full else wanted
            if wanted not in self._compiled:
                self._compiled[wanted] = self._compile(wanted)
            idle = self._idle.get(wanted)
            return wanted, idle.pop() if idle else self._compiled[wanted].create_infer_request()

    def _compile_first(self) -> None:
        """Compile what the first picture will most likely need, so that it does not wait."""
        size = self.metadata.input_size
        if isinstance(self._task, Detect):
            size = self._task.plan(*_USUAL_PICTURE).size
        self._compiled[size] = self._compile(size)

    def _compile(self, size: tuple[int, int]) -> Any:
        try:
            model = self._core.read_model(self._model)
            _check_shape(model, self.metadata, self._model.name)
            model.reshape([1, 3, *size])
            model = with_preparation(model, self.metadata.mean, self.metadata.std)
            return self._core.compile_model(model, "CPU", self._config)
        except RuntimeError as error:
            raise ModelInvalid(f"{self._model.name}: OpenVINO cannot load it ({reason(error)})") from None


def reason(error: RuntimeError) -> str:
    """The line of OpenVINO's long error that says what is wrong."""
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else "no reason given"


def configuration(settings: RuntimeSettings, precision: Precision) -> dict[str, Any]:
    """The options that networks are compiled with."""
    # Left to itself OpenVINO computes in bf16 wherever the processor can: the precision is named.
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": "f32" if precision == "exact" else "bf16",
    }
    if settings.threads:
        config["INFERENCE_NUM_THREADS"] = settings.threads
    return config


def _check_shape(model: Any, metadata: Metadata, name: str) -> None:
    if len(model.inputs) != 1:
        raise ModelInvalid(f"{name}: has {len(model.inputs)} inputs, not one picture")
    sides = sides_of(model.inputs[0])
    if len(sides) != 4 or sides[1] not in (-1, 3):
        raise ModelInvalid(f"{name}: its input of shape {sides} is no N×3×H×W picture")
    rows = len(metadata.names) + (4 if metadata.task == "detect" else 0)
    out = sides_of(model.outputs[0])
    wanted = 3 if metadata.task == "detect" else 2
    if out and (len(out) != wanted or (out[1] not in (-1, rows) and out[-1] != 6)):
        raise ModelInvalid(f"{name}: its output of shape {out} does not fit {metadata.task} with {rows} rows")


def sides_of(port: Any) -> list[int]:
    """The shape, −1 for what is open; empty where even the number of sides is."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [-1 if side.is_dynamic else side.get_length() for side in shape]


def with_preparation(model: Any, mean: Triple, std: Triple) -> Any:
    """`model`, taking 8 bit BGR pictures (NHWC): what makes its input of them is in its graph."""
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    steps = PrePostProcessor(model)
    tensor = steps.input().tensor()
    tensor.set_element_type(openvino.Type.u8)
    tensor.set_layout(openvino.Layout("NHWC"))
    tensor.set_color_format(ColorFormat.BGR)
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    chain = steps.input().preprocess().convert_element_type(openvino.Type.f32)
    chain = chain.convert_color(ColorFormat.RGB).scale(255.0)
    if any(mean):
        chain = chain.mean(list(mean))
    if std != (1.0, 1.0, 1.0):
        chain.scale(list(std))
    steps.output(0).tensor().set_element_type(openvino.Type.f32)
    return steps.build()
