"""Models exported from weights: made once, in a process of its own, and kept by digest.

The exporting process is started and killed here; this process imports neither torch nor
ultralytics. Two that ask for the same weights at once, in one process or in several, cause one export.
"""

import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import child, export_folder
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.devices import gpu_name
from siwatsystem.runtime.digest import digest
from siwatsystem.runtime.engine_header import ENGINE
from siwatsystem.runtime.metadata import Metadata, from_json
from siwatsystem.runtime.trial import Trial, verdicts

logger = logging.getLogger(__name__)

_METADATA = "metadata.json"


@dataclass(frozen=True, slots=True)
class Kind:
    """What weights are exported to: `files` are the model's, its own first; `packages` make it."""

    name: Literal["openvino", "tensorrt"]
    recipe: str
    files: tuple[str, ...]
    packages: tuple[str, ...]
    on_gpu: bool

    def limits(self, settings: RuntimeSettings) -> child.Limits:
        """What one export may take."""
        seconds = settings.engine_timeout_sec if self.on_gpu else settings.export_timeout_sec
        return child.Limits(seconds, settings.export_memory_mb, self.on_gpu)

    def trial(self, kept: Path, settings: RuntimeSettings) -> Trial:
        """The trial of what was exported to the folder `kept`, which the exporting process goes through."""
        precision: Precision = "fast" if self.name == "tensorrt" else "exact"
        return Trial(self.name, kept / self.files[0], settings, precision)


OPENVINO = Kind(
    "openvino", "1", ("model.xml", "model.bin", _METADATA), ("ultralytics", "torch", "openvino"), on_gpu=False
)
TENSORRT = Kind(
    # Whoever installs `tensorrt` gets the package of his CUDA's number, which holds the version.
    "tensorrt",
    "half-1",
    (ENGINE, _METADATA),
    ("ultralytics", "torch", "onnx", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    on_gpu=True,
)


def exported(
    weights: Path,
    settings: RuntimeSettings,
    cache_dir: Path,
    stop: threading.Event | None = None,
    kind: Kind = OPENVINO,
) -> tuple[Path, Metadata]:
    """The model (.xml or .engine) made of `weights` (.pt) and its metadata, exported if need be.

    Blocks for as long as an export takes, at most about `export_timeout_sec` (an engine:
    `engine_timeout_sec`), or until `stop` is set. Raises ModelRefused, ModelInvalid (also for an
    export that is stopped, crashes, takes too long or takes too much memory; see `verdicts` for when
    it is tried again), FileNotFoundError. Makes room for a new export, see `export_folder`.
    """
    stop = stop or threading.Event()
    kept = cache_dir / f"{digest(weights)}-{_exporter(kind)}"
    metadata = _complete(kept, kind)
    if metadata is None:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with export_folder.alone(kept, kind.limits(settings).seconds, stop):
            metadata = _complete(kept, kind) or _made(weights, settings, kept, stop, kind)
            export_folder.touch(kept)
        export_folder.evict(cache_dir, settings.export_cache_mb << 20)
    export_folder.touch(kept)
    return kept / kind.files[0], metadata


def discard(model: Path) -> None:
    """Forget an exported model that turned out to be damaged, or to fit this machine no more."""
    _remove(model.parent)


@functools.cache
def _exporter(kind: Kind) -> str:
    """Eight digits that change with whatever makes the model; for an engine also with the GPU."""
    versions = [kind.recipe]
    for package in kind.packages:
        try:
            versions.append(version(package))
        except PackageNotFoundError:
            versions.append("none")
    if kind.on_gpu:
        versions.append(gpu_name())
    return hashlib.sha256("|".join(versions).encode()).hexdigest()[:8]


def _complete(kept: Path, kind: Kind) -> Metadata | None:
    """The metadata of a whole export; None where there is none, or only remains of one."""
    if not all((kept / name).is_file() for name in kind.files):
        return None
    try:
        return from_json((kept / _METADATA).read_text(encoding="utf-8"))
    except (ModelInvalid, OSError, UnicodeDecodeError) as error:
        logger.warning("the export %s is damaged (%s) and made anew", kept.name, error)
        return None


def _made(
    weights: Path, settings: RuntimeSettings, kept: Path, stop: threading.Event, kind: Kind
) -> Metadata:
    """Export to `kept`, unless that crashed, hung or took too much just before."""
    fared, key = verdicts(kept.parent), ("export", kept.name, str(kind.limits(settings)))
    fared.passed(key)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="export-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            _run(weights.absolute(), folder, settings, stop, kind)
            metadata = _complete(folder, kind)
            if metadata is None:
                raise ModelInvalid(f"{weights.name}: its export is not whole")
            _install(folder, kept, kind)
    except child.Fatal as error:
        fared.keep_failed(key, error.message)
        raise
    kind.trial(kept, settings).keep_passed(kept.parent)
    logger.info("exported %s to %s in %.1f s", weights.name, kind.name, time.monotonic() - started)
    return metadata


def _install(folder: Path, kept: Path, kind: Kind) -> None:
    """Copy the model beside its place, then rename: what is seen there is whole."""
    fresh = Path(tempfile.mkdtemp(prefix=".fresh-", dir=kept.parent))
    try:
        for name in kind.files:
            with (folder / name).open("rb") as source, (fresh / name).open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
        _remove(kept)
        fresh.chmod(0o755)
        fresh.rename(kept)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _remove(kept: Path) -> None:
    """Remove an export, or whatever stands in its place."""
    if kept.is_dir() and not kept.is_symlink():
        shutil.rmtree(kept, ignore_errors=True)
    else:
        kept.unlink(missing_ok=True)


def _run(weights: Path, folder: Path, settings: RuntimeSettings, stop: threading.Event, kind: Kind) -> None:
    limits = kind.limits(settings)
    arguments = [str(weights), str(folder), str(limits.address_space_mb), kind.name]
    arguments.append(json.dumps(settings.model_dump(mode="json")))
    child.run("siwatsystem.runtime.export", arguments, folder, f"{weights.name}: its export", limits, stop)
