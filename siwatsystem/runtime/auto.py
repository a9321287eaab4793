"""Chooses the runtime for a model file and loads it there."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import InvalidSetting, ModelInvalid
from siwatsystem.runtime.backend import Backend, Precision
from siwatsystem.runtime.devices import has_bf16, has_tensorrt, use_cuda
from siwatsystem.runtime.encoder import Encoder, NotAnEncoder, input_of
from siwatsystem.runtime.metadata import Metadata

if TYPE_CHECKING:
    from siwatsystem.runtime import export_cache

logger = logging.getLogger(__name__)

T = TypeVar("T")

RuntimeName = Literal["torch", "openvino", "onnx", "tensorrt"]

_SERVED_BY: dict[str, tuple[RuntimeName, ...]] = {
    ".pt": ("openvino", "torch", "tensorrt"),
    ".onnx": ("onnx", "openvino"),
    ".xml": ("openvino",),
    ".engine": ("tensorrt",),
}


def load(
    path: Path,
    settings: RuntimeSettings,
    precision: Precision,
    cache_dir: Path,
    stop: threading.Event | None = None,
) -> Backend:
    """The model at `path` (.pt, .onnx, .engine, OpenVINO .xml or folder), ready to infer.

    Exported models are kept below `cache_dir`. Blocks while it exports and compiles; `stop` ends an
    export at once, with ModelInvalid("closed"). Raises FileNotFoundError, ModelInvalid, ModelRefused;
    InvalidSetting for a GPU that is not there.
    """
    path = path.absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model file")
    name = choose(path, settings)
    logger.debug("loading %s with %s, %s", path.name, name, precision)
    if precision == "fast" and not supports_fast(settings, path):
        raise ModelInvalid(f"{path.name}: no faster precision than exact with {name} on this machine")
    if name == "torch":
        from siwatsystem.runtime.torch import TorchBackend

        return TorchBackend(path, settings, precision)
    if name == "onnx":
        from siwatsystem.runtime.onnx import OnnxBackend

        return OnnxBackend(path, settings, precision)
    if name == "tensorrt":
        return _load_tensorrt(path, settings, precision, cache_dir, stop)
    return _load_openvino(path, settings, precision, cache_dir, stop)


def load_encoder(
    path: Path,
    settings: RuntimeSettings,
    precision: Precision,
    cache_dir: Path,
    stop: threading.Event | None = None,
) -> Encoder:
    """The appearance encoder at `path`: a classification model (.pt, .onnx, OpenVINO .xml or folder),
    whose features are the input of its last linear layer, or a re-identification network (.onnx).

    It is exported and loaded as `load` does, from the same kept exports. Raises the same; ModelInvalid
    also for a detection model and for an .engine, which cannot be cut.
    """
    path = path.absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model file")
    name = choose(path, settings)
    if precision == "fast" and not supports_fast(settings, path):
        raise ModelInvalid(f"{path.name}: no faster precision than exact with {name} on this machine")
    if name == "tensorrt" and path.suffix.lower() == ".engine":
        raise ModelInvalid(f"{path.name}: an engine gives no features; name its weights or an .onnx instead")
    if name in ("torch", "tensorrt"):
        from siwatsystem.runtime.torch_encoder import TorchEncoder

        return TorchEncoder(path, settings, precision)
    if name == "onnx":
        from siwatsystem.runtime.onnx_encoder import OnnxEncoder

        return OnnxEncoder(path, settings, precision)
    return _openvino_encoder(path, settings, precision, cache_dir, stop)


def choose(path: Path, settings: RuntimeSettings) -> RuntimeName:
    """Which runtime serves `path`: the one that is set where it can, else the fastest here.

    TensorRT serves weights in *fast* only; *exact* is torch's then, as are the features of an encoder.
    Raises ModelInvalid for a kind of file that none serves, InvalidSetting.
    """
    kind = ".xml" if path.is_dir() else path.suffix.lower()
    if kind not in _SERVED_BY:
        raise ModelInvalid(f"{path.name}: no model file (.pt, .onnx, .engine or an OpenVINO folder)")
    able = _SERVED_BY[kind]
    if settings.backend in able:
        if settings.backend == "tensorrt" and kind == ".pt":
            _check_tensorrt(settings)
        return settings.backend
    if settings.backend != "auto":
        logger.warning("runtime.backend = %r does not serve %s files", settings.backend, kind)
    if kind == ".pt" and use_cuda(settings):
        return "tensorrt" if has_tensorrt() else "torch"
    return able[0]


def check(settings: RuntimeSettings) -> None:
    """Raises InvalidSetting for a device or runtime that is demanded and cannot be had here."""
    use_cuda(settings)
    if settings.backend == "tensorrt":
        _check_tensorrt(settings)


def _check_tensorrt(settings: RuntimeSettings) -> None:
    """Raises InvalidSetting where TensorRT is demanded for weights and cannot be had."""
    if not has_tensorrt():
        raise InvalidSetting("runtime.backend = 'tensorrt': its Python package is not installed")
    if not use_cuda(settings):
        raise InvalidSetting("runtime.backend = 'tensorrt' needs an NVIDIA GPU ('auto' works without)")


def supports_fast(settings: RuntimeSettings, path: Path | None = None) -> bool:
    """Whether there is a precision faster than *exact* here: half on a GPU, bf16 on a processor.

    Without `path` the answer is for weights (.pt).
    """
    path = path or Path("weights.pt")
    name = choose(path, settings)
    if name == "torch":
        return use_cuda(settings)
    if name == "tensorrt":
        return path.suffix.lower() == ".pt"
    return name == "openvino" and has_bf16()


def _load_tensorrt(
    path: Path,
    settings: RuntimeSettings,
    precision: Precision,
    cache_dir: Path,
    stop: threading.Event | None,
) -> Backend:
    from siwatsystem.runtime import export_cache
    from siwatsystem.runtime.tensorrt import TensorRTBackend
    from siwatsystem.runtime.torch import TorchBackend

    if path.suffix.lower() != ".pt":
        return TensorRTBackend(path, settings, precision)
    if precision == "exact":
        return TorchBackend(path, settings, precision)

    def made(engine: Path, metadata: Metadata) -> Backend:
        return TensorRTBackend(engine, settings, precision, metadata)

    try:
        return _of_export(path, settings, cache_dir, stop, made, export_cache.TENSORRT)
    except ModelInvalid as error:
        if stop is not None and stop.is_set():
            raise
        logger.warning("%s: no TensorRT engine (%s); torch serves it", path.name, error)
    return TorchBackend(path, settings, precision)


def _load_openvino(
    path: Path,
    settings: RuntimeSettings,
    precision: Precision,
    cache_dir: Path,
    stop: threading.Event | None,
) -> Backend:
    from siwatsystem.runtime import openvino, openvino_files

    def made(model: Path, metadata: Metadata) -> Backend:
        return openvino.OpenVINOBackend(model, metadata, settings, precision)

    if path.suffix.lower() != ".pt":
        return made(*openvino_files.find(path))
    return _of_export(path, settings, cache_dir, stop, made)


def _openvino_encoder(
    path: Path,
    settings: RuntimeSettings,
    precision: Precision,
    cache_dir: Path,
    stop: threading.Event | None,
) -> Encoder:
    from siwatsystem.runtime import onnx_encoder, openvino_encoder, openvino_files

    def made(model: Path, metadata: Metadata) -> Encoder:
        taken = input_of(metadata, path.name)
        return openvino_encoder.OpenVINOEncoder(model, taken, settings, precision, cut=True)

    if path.suffix.lower() == ".onnx":
        taken, classifies = onnx_encoder.recipe(path)
        return openvino_encoder.OpenVINOEncoder(path, taken, settings, precision, cut=classifies)
    if path.suffix.lower() != ".pt":
        return made(*openvino_files.find(path))
    return _of_export(path, settings, cache_dir, stop, made)


def _of_export(
    weights: Path,
    settings: RuntimeSettings,
    cache_dir: Path,
    stop: threading.Event | None,
    made: Callable[[Path, Metadata], T],
    kind: "export_cache.Kind | None" = None,
) -> T:
    """What `made` makes of the kept export of `weights`, or of a new one where the kept is damaged."""
    from siwatsystem.runtime import export_cache

    kind = kind or export_cache.OPENVINO
    model, metadata = export_cache.exported(weights, settings, cache_dir, stop, kind)
    try:
        return made(model, metadata)
    except NotAnEncoder:
        raise
    except ModelInvalid as error:
        logger.warning("the kept export of %s is damaged (%s): exporting it anew", weights.name, error)
    export_cache.discard(model)
    return made(*export_cache.exported(weights, settings, cache_dir, stop, kind))
