"""A model's trial: before a file is loaded here for the first time, a process of its own loads it.

Runtimes are native code that was never meant for strangers' files. Only what such a process survived,
within its limits, is loaded by the worker; see `verdicts` for what is remembered of it.
"""

import functools
import json
import logging
import platform
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from siwatsystem.config import RuntimeSettings
from siwatsystem.runtime import child
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.devices import gpu_name, use_cuda
from siwatsystem.runtime.digest import digest
from siwatsystem.runtime.loaders import RuntimeName
from siwatsystem.runtime.processor import has_broken_amx, processor_name
from siwatsystem.runtime.verdicts import Verdicts

logger = logging.getLogger(__name__)

_FOLDER = ".trials"
_PROCESS = "siwatsystem.runtime.trial_run"
_RECIPE = "1"
_PACKAGES: dict[RuntimeName, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxruntime", "onnxruntime-gpu"),
    "torch": ("torch", "ultralytics"),
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
}


def verdicts(cache_dir: Path) -> Verdicts:
    """Those that are kept beside the exports."""
    return Verdicts(cache_dir / _FOLDER)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be loaded, and how."""

    runtime: RuntimeName
    file: Path
    settings: RuntimeSettings
    precision: Precision
    encoder: bool = False

    def pass_or_raise(self, cache_dir: Path, stop: threading.Event | None = None) -> None:
        """Return where `file` may be loaded here, having tried it where that is not known.

        Blocks for a trial, at most about `trial_timeout_sec`, or until `stop` is set. Raises
        ModelInvalid and ModelRefused, as loading does and for what crashed, hung or took too much.
        """
        if not self.settings.trial:
            return
        kept, key = verdicts(cache_dir), self.key()
        if kept.passed(key):
            return
        try:
            self._run(stop or threading.Event())
        except child.Fatal as error:
            kept.keep_failed(key, error.message)
            raise
        kept.keep_passed(key)

    def keep_passed(self, cache_dir: Path) -> None:
        """Note that the process which made `file` has tried it too."""
        if self.settings.trial:
            verdicts(cache_dir).keep_passed(self.key())

    def key(self) -> list[str]:
        """All that the outcome depends on."""
        tried = self._tried
        on_gpu = tried.limits().on_gpu
        return [
            _RECIPE,
            digest(tried.file),
            tried.runtime,
            *_versions(tried.runtime),
            tried.precision,
            "encoder" if tried.encoder else "model",
            str(tried.settings.threads),
            f"{tried.settings.export_memory_mb} MB, {tried.settings.trial_timeout_sec:g} s",
            f"{platform.machine()} {processor_name()}{' without AMX' if has_broken_amx() else ''}",
            gpu_name() if on_gpu else "",
        ]

    def limits(self) -> child.Limits:
        on_gpu = self.runtime in ("onnx", "tensorrt") and use_cuda(self.settings)
        return child.Limits(self.settings.trial_timeout_sec, self.settings.export_memory_mb, on_gpu)

    @property
    def _tried(self) -> "Trial":
        """What stands in for this in the trial: weights are tried on the processor even where torch
        serves them on a GPU. What a checkpoint can break, it breaks there, and within limits."""
        if self.runtime != "torch":
            return self
        settings = self.settings.model_copy(update={"device": "cpu"})
        return Trial("torch", self.file, settings, "exact", self.encoder)

    def _run(self, stop: threading.Event) -> None:
        started, tried = time.monotonic(), self._tried
        limits = tried.limits()
        given = {
            "runtime": tried.runtime,
            "file": str(tried.file.absolute()),
            "settings": tried.settings.model_dump(mode="json"),
            "precision": tried.precision,
            "encoder": tried.encoder,
        }
        with tempfile.TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True) as name:
            arguments = [name, str(limits.address_space_mb), json.dumps(given)]
            what = f"{self.file.name}: its trial with {tried.runtime}"
            child.run(_PROCESS, arguments, Path(name), what, limits, stop)
        logger.info("tried %s with %s in %.1f s", self.file.name, tried.runtime, time.monotonic() - started)


@functools.cache
def _versions(runtime: RuntimeName) -> tuple[str, ...]:
    found: list[str] = []
    for package in _PACKAGES[runtime]:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("none")
    return tuple(found)
