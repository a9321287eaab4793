"""A process that opens what others made: started, watched, and killed with all that it started.

It may crash, hang or take any amount of memory; whoever waits for it here gets an error and goes on.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import siwatsystem
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime.confine import PARENT, RESULT, UNLIMITED
from siwatsystem.runtime.encoder import NotAnEncoder

logger = logging.getLogger(__name__)

_POLL_SEC = 0.1
_SPOKEN = 4000
_END_SEC = 5.0
"""Longest wait for a process that was killed: one that hangs in the kernel (a dead disk, a GPU) stays."""


class Fatal(ModelInvalid):
    """The process crashed, hung, or took too much memory: what it was given must not be loaded here."""


_KINDS = {"model_refused": ModelRefused, "not_an_encoder": NotAnEncoder, "fatal": Fatal}


@dataclass(frozen=True, slots=True)
class Limits:
    """`on_gpu`: the process may use the GPU. CUDA reserves address space by the terabyte, so a limit of
    that would stop it at once; what the process really takes is watched instead."""

    seconds: float
    memory_mb: int
    on_gpu: bool = False

    @property
    def address_space_mb(self) -> int:
        """What the process has to confine itself to."""
        return UNLIMITED if self.on_gpu else self.memory_mb


def run(
    module: str, arguments: list[str], folder: Path, what: str, limits: Limits, stop: threading.Event
) -> None:
    """Run `python -m module` in the empty `folder` until it has said that all went well.

    `what` names its work in errors. Raises Fatal; ModelInvalid or ModelRefused as the process says, for
    one that was killed from outside, and ("closed") once `stop` is set.
    """
    log = folder / "output.log"
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 # nosec B603 # an argument list of our own making
            [sys.executable, "-P", "-m", module, *arguments],
            cwd=folder,
            env=_environment(folder, limits.on_gpu),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = _wait(child, what, limits, stop)
        finally:
            _end(child)
    _judge(folder, log, status, what, limits)


def _wait(child: "subprocess.Popen[bytes]", what: str, limits: Limits, stop: threading.Event) -> int:
    deadline = time.monotonic() + limits.seconds
    while (status := child.poll()) is None:
        if time.monotonic() > deadline:
            raise Fatal(f"{what} took over {limits.seconds:g} s")
        if limits.on_gpu and _memory_mb(child.pid) > limits.memory_mb:
            raise Fatal(f"{what} needs more than {limits.memory_mb} MB")
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
    try:
        child.wait(_END_SEC)
    except subprocess.TimeoutExpired:
        logger.error("process %d was killed and does not end; it is left behind", child.pid)


def _environment(folder: Path, on_gpu: bool) -> dict[str, str]:
    """Nothing of ours but what Python needs: tokens and passwords live in our environment."""
    names = ["PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "ONEDNN_MAX_CPU_ISA"]
    names += ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"] if on_gpu else []
    kept = {key: os.environ[key] for key in names if key in os.environ}
    package = Path(siwatsystem.__file__).resolve().parent.parent
    home = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(package)}
    home[PARENT] = str(os.getpid())
    unseen = {} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    # A heap per thread reserves 64 MB of address space each, which is limited.
    return kept | home | unseen | {"PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}


def _judge(folder: Path, log: Path, status: int, what: str, limits: Limits) -> None:
    result: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError):
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    if status == 0 and result == {}:
        return
    if result and status > 0:
        raise _KINDS.get(str(result.get("code")), ModelInvalid)(str(result.get("message")))
    with log.open("rb") as said:
        said.seek(max(0, log.stat().st_size - _SPOKEN))
        tail = said.read(_SPOKEN).decode(errors="replace")
    logger.warning("%s failed:\n%s", what, tail)
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    last = lines[-1][:200] if lines else "it said nothing"
    text = f"{what} {_described(status)} ({last}); {limits.memory_mb} MB of memory were allowed"
    # Killed so is what the machine has no memory for, or what an administrator ends.
    raise (ModelInvalid if status in (-signal.SIGKILL, -signal.SIGTERM) else Fatal)(text)


def _described(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed with {name}" if status == -signal.SIGKILL else f"crashed with {name}"
