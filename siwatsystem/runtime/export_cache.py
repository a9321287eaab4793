"""Models exported from weights: made once, in a process of its own, and kept by digest.

The exporting process is started and killed here; this process imports neither torch nor
ultralytics. Two that ask for the same weights at once, in one process or in several, cause one export.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import siwatsystem
from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime import export_folder
from siwatsystem.runtime.digest import digest
from siwatsystem.runtime.export import RESULT
from siwatsystem.runtime.metadata import Metadata, from_json

logger = logging.getLogger(__name__)

_RECIPE = "1"
_PACKAGES = ("ultralytics", "torch", "openvino")
_FILES = ("model.xml", "model.bin", "metadata.json")
_POLL_SEC = 0.1


def exported(
    weights: Path, settings: RuntimeSettings, cache_dir: Path, stop: threading.Event | None = None
) -> tuple[Path, Metadata]:
    """The OpenVINO model (.xml) of `weights` (.pt) and its metadata, exported if need be.

    Blocks for as long as an export takes, at most about `export_timeout_sec`, or until `stop` is
    set. Raises ModelRefused, ModelInvalid (also for an export that is stopped, takes too long or
    takes too much memory), FileNotFoundError. Makes room for a new export, see `export_folder`.
    """
    stop = stop or threading.Event()
    kept = cache_dir / f"{digest(weights)}-{_exporter()}"
    if not _is_complete(kept):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with export_folder.alone(kept, settings.export_timeout_sec, stop):
            if not _is_complete(kept):
                _make(weights, settings, kept, stop)
            export_folder.touch(kept)
        export_folder.evict(cache_dir, settings.export_cache_mb << 20)
    export_folder.touch(kept)
    return kept / _FILES[0], from_json((kept / _FILES[2]).read_text(encoding="utf-8"))


def discard(xml: Path) -> None:
    """Forget an exported model that turned out to be damaged."""
    shutil.rmtree(xml.parent, ignore_errors=True)


@functools.cache
def _exporter() -> str:
    """Eight digits that change with whatever makes the model."""
    versions = [_RECIPE]
    for package in _PACKAGES:
        try:
            versions.append(version(package))
        except PackageNotFoundError:
            versions.append("none")
    return hashlib.sha256("|".join(versions).encode()).hexdigest()[:8]


def _is_complete(kept: Path) -> bool:
    return all((kept / name).is_file() for name in _FILES)


def _make(weights: Path, settings: RuntimeSettings, kept: Path, stop: threading.Event) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="export-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _run(weights.absolute(), folder, settings, stop)
        _install(folder, kept)
    logger.info("exported %s to OpenVINO in %.1f s", weights.name, time.monotonic() - started)


def _install(folder: Path, kept: Path) -> None:
    """Copy the model beside its place, then rename: what is seen there is whole."""
    fresh = Path(tempfile.mkdtemp(prefix=".fresh-", dir=kept.parent))
    try:
        for name in _FILES:
            with (folder / name).open("rb") as source, (fresh / name).open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
        shutil.rmtree(kept, ignore_errors=True)
        fresh.chmod(0o755)
        fresh.rename(kept)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run(weights: Path, folder: Path, settings: RuntimeSettings, stop: threading.Event) -> None:
    log = folder / "export.log"
    command = [sys.executable, "-P", "-m", "siwatsystem.runtime.export"]
    command += [str(weights), str(folder), str(settings.export_memory_mb)]
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 (an argument list of our own making)
            command,
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = _wait(child, weights.name, settings.export_timeout_sec, stop)
        finally:
            _end(child)
    _judge(weights, folder, status, settings)


def _wait(child: "subprocess.Popen[bytes]", name: str, timeout: float, stop: threading.Event) -> int:
    """The child's exit status. Raises ModelInvalid after `timeout` seconds, or once told to stop."""
    deadline = time.monotonic() + timeout
    while (status := child.poll()) is None:
        if time.monotonic() > deadline:
            raise ModelInvalid(f"{name}: its export took over {timeout:g} s")
        if stop.wait(_POLL_SEC):
            raise ModelInvalid("closed")
    return status


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child's whole group, itself or what it left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours but what Python needs: tokens and passwords live in our environment."""
    kept = {
        key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if key in os.environ
    }
    package = Path(siwatsystem.__file__).resolve().parent.parent
    home = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(package)}
    return kept | home | {"CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}


def _judge(weights: Path, folder: Path, status: int, settings: RuntimeSettings) -> None:
    result: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError):
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    if status == 0 and result == {} and _is_complete(folder):
        return
    if result and result.get("code") == "model_refused":
        raise ModelRefused(str(result.get("message")))
    if result:
        raise ModelInvalid(str(result.get("message")))
    tail = (folder / "export.log").read_bytes()[-4000:].decode(errors="replace")
    logger.warning("the export of %s failed:\n%s", weights.name, tail)
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    last = lines[-1][:200] if lines else "it said nothing"
    raise ModelInvalid(
        f"{weights.name}: its export ended with status {status}"
        f" ({last}); {settings.export_memory_mb} MB of memory were allowed"
    )
