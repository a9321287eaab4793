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
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import siwatsystem
from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime import export_folder
from siwatsystem.runtime.devices import gpu_name
from siwatsystem.runtime.digest import digest
from siwatsystem.runtime.engine_header import ENGINE
from siwatsystem.runtime.export import RESULT, UNLIMITED
from siwatsystem.runtime.metadata import Metadata, from_json

logger = logging.getLogger(__name__)

_METADATA = "metadata.json"
_POLL_SEC = 0.1


@dataclass(frozen=True, slots=True)
class Kind:
    """What weights are exported to: `files` are the model's, its own first; `packages` make it."""

    name: Literal["openvino", "tensorrt"]
    recipe: str
    files: tuple[str, ...]
    packages: tuple[str, ...]
    on_gpu: bool

    def timeout(self, settings: RuntimeSettings) -> float:
        """Seconds that one export may take."""
        return settings.engine_timeout_sec if self.on_gpu else settings.export_timeout_sec


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
    export that is stopped, takes too long or takes too much memory), FileNotFoundError. Makes room
    for a new export, see `export_folder`.
    """
    stop = stop or threading.Event()
    kept = cache_dir / f"{digest(weights)}-{_exporter(kind)}"
    if not _is_complete(kept, kind):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with export_folder.alone(kept, kind.timeout(settings), stop):
            if not _is_complete(kept, kind):
                _make(weights, settings, kept, stop, kind)
            export_folder.touch(kept)
        export_folder.evict(cache_dir, settings.export_cache_mb << 20)
    export_folder.touch(kept)
    return kept / kind.files[0], from_json((kept / _METADATA).read_text(encoding="utf-8"))


def discard(model: Path) -> None:
    """Forget an exported model that turned out to be damaged, or to fit this machine no more."""
    shutil.rmtree(model.parent, ignore_errors=True)


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


def _is_complete(kept: Path, kind: Kind) -> bool:
    return all((kept / name).is_file() for name in kind.files)


def _make(weights: Path, settings: RuntimeSettings, kept: Path, stop: threading.Event, kind: Kind) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="export-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _run(weights.absolute(), folder, settings, stop, kind)
        _install(folder, kept, kind)
    logger.info("exported %s to %s in %.1f s", weights.name, kind.name, time.monotonic() - started)


def _install(folder: Path, kept: Path, kind: Kind) -> None:
    """Copy the model beside its place, then rename: what is seen there is whole."""
    fresh = Path(tempfile.mkdtemp(prefix=".fresh-", dir=kept.parent))
    try:
        for name in kind.files:
            with (folder / name).open("rb") as source, (fresh / name).open("wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
        shutil.rmtree(kept, ignore_errors=True)
        fresh.chmod(0o755)
        fresh.rename(kept)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run(weights: Path, folder: Path, settings: RuntimeSettings, stop: threading.Event, kind: Kind) -> None:
    log = folder / "export.log"
    # CUDA reserves address space by the terabyte, so a limit of that would stop it at once: what a
    # process on a GPU really takes is watched from here.
    memory_mb = UNLIMITED if kind.on_gpu else settings.export_memory_mb
    command = [sys.executable, "-P", "-m", "siwatsystem.runtime.export"]
    command += [str(weights), str(folder), str(memory_mb), kind.name]
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 # nosec B603 # an argument list of our own making
            command,
            cwd=folder,
            env=_environment(folder, kind),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            most = settings.export_memory_mb if kind.on_gpu else None
            status = _wait(child, weights.name, kind.timeout(settings), stop, most)
        finally:
            _end(child)
    _judge(weights, folder, status, settings, kind)


def _wait(
    child: "subprocess.Popen[bytes]",
    name: str,
    timeout: float,
    stop: threading.Event,
    most_mb: int | None = None,
) -> int:
    """The child's exit status. Raises ModelInvalid after `timeout` seconds, once told to stop, or once
    it takes more than `most_mb` megabytes."""
    deadline = time.monotonic() + timeout
    while (status := child.poll()) is None:
        if time.monotonic() > deadline:
            raise ModelInvalid(f"{name}: its export took over {timeout:g} s")
        if most_mb is not None and _memory_mb(child.pid) > most_mb:
            raise ModelInvalid(f"{name}: its export needs more than {most_mb} MB")
        if stop.wait(_POLL_SEC):
            raise ModelInvalid("closed")
    return status


def _memory_mb(pid: int) -> int:
    """Megabytes that a process holds for itself; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith("RssAnon:")), "")
    return int(line.split()[1]) // 1024 if line else 0


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child's whole group, itself or what it left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _environment(folder: Path, kind: Kind) -> dict[str, str]:
    """Nothing of ours but what Python needs: tokens and passwords live in our environment."""
    names = ["PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH"]
    names += ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"] if kind.on_gpu else []
    kept = {key: os.environ[key] for key in names if key in os.environ}
    package = Path(siwatsystem.__file__).resolve().parent.parent
    home = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(package)}
    unseen = {} if kind.on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    return kept | home | unseen | {"PYTHONDONTWRITEBYTECODE": "1"}


def _judge(weights: Path, folder: Path, status: int, settings: RuntimeSettings, kind: Kind) -> None:
    result: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError):
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    if status == 0 and result == {} and _is_complete(folder, kind):
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
