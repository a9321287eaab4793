"""Weights into a TensorRT engine of half precision; runs in the exporting process, on the GPU.

By way of an ONNX model that is itself in half precision, so that the engine computes as its types say
("strongly typed", the only way that TensorRT 11 knows). One engine serves every batch up to
`ENGINE_BATCH` and, for a detector, every input size that letterboxing gives.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.detect import Detect
from siwatsystem.runtime.engine_header import ENGINE, ENGINE_BATCH, header
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.task import task_of

_LEAST_TENSORRT = 10
_WORKSPACE_BYTES = 4 << 30
_USUAL_PICTURE = 1080, 1920

Shape = tuple[int, int, int, int]
"""Pictures, 3, height, width."""


def export_engine(weights: Path, folder: Path) -> None:
    """Write model.engine and metadata.json into `folder`. Raises ModelRefused, ModelInvalid."""
    silence(folder / "config")
    from siwatsystem.runtime.weights import load_checkpoint

    _, metadata = load_checkpoint(weights)
    engine = build(half_onnx(weights, folder, metadata), metadata)
    (folder / ENGINE).write_bytes(header(metadata) + engine)
    (folder / "metadata.json").write_text(metadata.to_json(), encoding="utf-8")


def half_onnx(weights: Path, folder: Path, metadata: Metadata) -> Path:
    """The ONNX model of `weights`, below `folder`: any batch and size, pictures and results in float32,
    computed in half precision where that is safe (not where sizes are scaled or counted)."""
    from ultralytics import YOLO

    # The exporter writes beside the weights, under a name that it makes from theirs.
    own = folder / "source" / "weights.pt"
    own.parent.mkdir()
    shutil.copyfile(weights, own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = YOLO(str(own)).export(
            format="onnx",
            quantize=16,
            dynamic=True,
            simplify=False,
            imgsz=list(metadata.input_size),
            device="cpu",
            verbose=False,
        )
    return Path(made)


def shapes(metadata: Metadata) -> tuple[Shape, Shape, Shape]:
    """The least, the usual and the greatest input that an engine is built for; it is quickest at the
    usual one."""
    height, width = metadata.input_size
    task = task_of(metadata)
    if not isinstance(task, Detect):
        return (1, 3, height, width), (ENGINE_BATCH, 3, height, width), (ENGINE_BATCH, 3, height, width)
    usual = task.plan(*_USUAL_PICTURE).size
    stride = metadata.stride
    return (1, 3, stride, stride), (ENGINE_BATCH, 3, *usual), (ENGINE_BATCH, 3, height, width)


def build(onnx: Path, metadata: Metadata) -> bytes:
    """The serialised engine of a model whose types say how to compute. Raises ModelInvalid."""
    import tensorrt  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    trt: Any = tensorrt
    if int(str(trt.__version__).split(".", 1)[0]) < _LEAST_TENSORRT:
        raise ModelInvalid(f"TensorRT {trt.__version__} is too old: {_LEAST_TENSORRT} or newer is needed")
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    # Where there is no such flag every network is typed so.
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ModelInvalid(f"TensorRT cannot read the model ({'; '.join(reasons)[:300]})")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    profile = builder.create_optimization_profile()
    least, usual, most = shapes(metadata)
    profile.set_shape(network.get_input(0).name, least, usual, most)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelInvalid("TensorRT could not build an engine of the model")
    return bytes(engine)
