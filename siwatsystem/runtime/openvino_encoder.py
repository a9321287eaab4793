"""OpenVINO: a classification network cut before its last linear layer, or an encoder as it is."""

from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.encoder import EncoderInput, NotAnEncoder
from siwatsystem.runtime.openvino import (
    LOAD_ERRORS,
    configuration,
    reason,
    sides_of,
    stream_options,
    with_preparation,
)
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.silence import silence

MOST_AT_ONCE = 16
"""Pictures in one call, a bound on the memory that it takes."""
_AFTER_LAST_LINEAR = {"Result", "Softmax", "Add", "Convert", "Multiply"}
"""What exporters and readers leave between a network's last linear layer and its output: a bias and
its factor, changes of type."""


class OpenVINOEncoder:
    """An encoder on this machine's processor."""

    runtime = "openvino"

    def __init__(
        self,
        model: Path,
        taken: EncoderInput,
        settings: RuntimeSettings,
        precision: Precision = "exact",
        cut: bool = False,
    ) -> None:
        """Load `model` (.xml or .onnx); `cut` for a classification network. Raises ModelInvalid."""
        silence()
        import openvino

        self.input = taken
        self.precision: Precision = precision
        core = openvino.Core()
        try:
            network = core.read_model(model)
            if cut:
                network = _cut(network, model.name)
            _check(network, model.name)
            # A network exported for one picture may have that number anywhere in its graph.
            self._batch = MOST_AT_ONCE if sides_of(network.inputs[0])[:1] == [-1] else 1
            network.reshape([-1 if self._batch > 1 else 1, 3, *taken.size])
            prepared = with_preparation(network, taken.mean, taken.std)
            compiled = core.compile_model(
                prepared, "CPU", {**configuration(settings, precision), **stream_options(1)}
            )
        except LOAD_ERRORS as error:
            raise ModelInvalid(f"{model.name}: OpenVINO cannot load it ({reason(error)})") from None
        self._request: Any = compiled.create_infer_request()

    def features(self, batch: Image) -> Floats:
        """N × D for N pictures of the input's size. Raises RuntimeError where OpenVINO fails."""
        parts = [batch[start : start + self._batch] for start in range(0, len(batch), self._batch)]
        rows = [self._request.infer({0: part}, share_inputs=True)[0] for part in parts]
        return np.concatenate(rows)

    def close(self) -> None:
        self._request = None


def _cut(network: Any, name: str) -> Any:
    """The same network, ending where its features go into the last linear layer."""
    import openvino

    model: Any = openvino.Model
    node = network.outputs[0].get_node()
    while node.get_type_name() in _AFTER_LAST_LINEAR:
        computed = [one for one in _inputs(node) if not _is_constant(one)]
        if not computed:
            break
        node = computed[0]
    if node.get_type_name() != "MatMul":
        raise NotAnEncoder(f"{name}: ends in {node.get_type_name()}, not in a linear layer")
    return model([node.input_value(0)], network.get_parameters(), "encoder")


def _inputs(node: Any) -> list[Any]:
    return [value.get_node() for value in node.input_values()]


def _is_constant(node: Any, depth: int = 3) -> bool:
    """Whether `node` is a constant, or one in another type or times another, `depth` nodes long at most."""
    if node.get_type_name() == "Constant":
        return True
    if depth == 1 or node.get_type_name() not in {"Convert", "Multiply"}:
        return False
    return all(_is_constant(one, depth - 1) for one in _inputs(node))


def _check(network: Any, name: str) -> None:
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ModelInvalid(
            f"{name}: has {len(network.inputs)} inputs and {len(network.outputs)} outputs; "
            "an appearance encoder takes one picture and gives one row of features"
        )
    out = sides_of(network.outputs[0])
    if out and len(out) != 2:
        raise ModelInvalid(f"{name}: its output of shape {out} is no row of features (N × D)")
