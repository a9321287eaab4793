"""Chooses the runtime for a model file and loads it there."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import InvalidSetting, ModelInvalid
from siwatsystem.runtime.backend import Backend, Precision
from siwatsystem.runtime.devices import has_tensorrt, use_cuda
from siwatsystem.runtime.encoder import Encoder, NotAnEncoder
from siwatsystem.runtime.loaders import RuntimeName, open_encoder, open_model
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.processor import has_bf16
from siwatsystem.runtime.trial import Trial
from siwatsystem.runtime.verdicts import LeftAlone

if TYPE_CHECKING:
    from siwatsystem.runtime import export_cache

logger = logging.getLogger(__name__)

T = TypeVar("T")

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
    if path.suffix.lower() == ".pt" and (name == "openvino" or (name == "tensorrt" and precision == "fast")):
        return _load_export(path, settings, precision, cache_dir, name, stop)
    # Of weights TensorRT serves nothing but *fast*.
    name = "torch" if name == "tensorrt" and path.suffix.lower() == ".pt" else name
    return _load_tried(Trial(name, path, settings, precision), cache_dir, stop)


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

    def tried(trial: Trial) -> Encoder:
        trial.pass_or_raise(cache_dir, stop)
        return open_encoder(trial.runtime, trial.file, settings, precision)

    if name == "openvino" and path.suffix.lower() == ".pt":
        return _of_export(
            path,
            settings,
            cache_dir,
            stop,
            lambda model, _: tried(Trial("openvino", model, settings, precision, encoder=True)),
        )
    return tried(Trial("torch" if name == "tensorrt" else name, path, settings, precision, encoder=True))


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


def _load_tried(
    trial: Trial, cache_dir: Path, stop: threading.Event | None, metadata: Metadata | None = None
) -> Backend:
    trial.pass_or_raise(cache_dir, stop)
    return open_model(trial.runtime, trial.file, trial.settings, trial.precision, metadata)


def _load_export(
    path: Path,
    settings: RuntimeSettings,
    precision: Precision,
    cache_dir: Path,
    name: RuntimeName,
    stop: threading.Event | None,
) -> Backend:
    """What OpenVINO or TensorRT made of weights; torch's own where TensorRT could not."""
    from siwatsystem.runtime import export_cache

    def made(model: Path, metadata: Metadata) -> Backend:
        return _load_tried(Trial(name, model, settings, precision), cache_dir, stop, metadata)

    if name == "openvino":
        return _of_export(path, settings, cache_dir, stop, made)
    try:
        return _of_export(path, settings, cache_dir, stop, made, export_cache.TENSORRT)
    except ModelInvalid as error:
        if stop is not None and stop.is_set():
            raise
        logger.warning("%s: no TensorRT engine (%s); torch serves it", path.name, error)
    return _load_tried(Trial("torch", path, settings, precision), cache_dir, stop)


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
    except (NotAnEncoder, LeftAlone):
        # Nothing new is known of the files, of which others may be in use: one made anew fares alike.
        raise
    except ModelInvalid as error:
        if stop is not None and stop.is_set():
            raise
        logger.warning("the kept export of %s is damaged (%s): exporting it anew", weights.name, error)
    export_cache.discard(model)
    return made(*export_cache.exported(weights, settings, cache_dir, stop, kind))
