"""The other sides of a bench as this process sees them: child processes that predict on cameras."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.peers_counting import Window, counted

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".demo" / "bench-peers"
LOAD_SEC = 240.0
"""Longest wait for a side to load its model, export included."""
ANSWER_SEC = 120.0
SETTLE_SEC = 1.0
# Nobody is told that it was measured here, and nothing is fetched.
SILENT = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "YOLO_CONFIG_DIR": str(FOLDER / "ultralytics"),
    "TELEMETRY_OPT_OUT": "True",
    "OFFLINE_MODE": "True",
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


class Stretch:
    """A stretch of time: how long it was, and the processor time of one process and of all others in it."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.began = self.ended = 0.0
        self._own = self._all = 0.0

    def __enter__(self) -> "Stretch":
        self._own, self._all, self.began = -self._own_seconds(), -self._all_seconds(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = time.monotonic()
        self._own += self._own_seconds()
        self._all += self._all_seconds()

    def window(self, results: Sequence[int]) -> Window:
        seconds = self.ended - self.began
        return Window(results, seconds, self._own, max(0.0, self._all - self._own) / seconds)

    def _own_seconds(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    @staticmethod
    def _all_seconds() -> float:
        times = psutil.cpu_times()
        return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


class Peer:
    """A running side (a module that calls `peers_child.serve`)."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        """Start it and wait until its model is loaded. Raises RuntimeError with the end of its log."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=ROOT,
                env={**os.environ, **SILENT, **(env or {})},
                start_new_session=True,
            )
        self.os = psutil.Process(self._child.pid)
        try:
            self.about: dict[str, Any] = self._answer(LOAD_SEC)["ready"]
        except BaseException:
            self.stop()
            raise

    def open(self, urls: Sequence[str]) -> None:
        """Begin to predict; returns once every camera has given results for a while."""
        self._ask({"do": "open", "urls": list(urls)})
        time.sleep(SETTLE_SEC)

    def watch(self, seconds: float) -> Window:
        """Count what comes in the next `seconds`."""
        with Stretch(self.os) as stretch:
            time.sleep(seconds)
        times: list[list[float]] = self._ask({"do": "take"})["times"]
        return stretch.window([counted(own, stretch.began, stretch.ended) for own in times])

    def close(self) -> bool:
        """Let go of the cameras. Returns whether it could within a few seconds."""
        return bool(self._ask({"do": "close"})["closed"])

    def stop(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(2)
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command).encode() + b"\n")
        self._child.stdin.flush()
        return self._answer(ANSWER_SEC)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], seconds)
        line = self._child.stdout.readline() if ready else b""
        silent = "it has ended" if ready else f"no answer within {seconds:g} s"
        answer: dict[str, Any] = json.loads(line) if line else {"error": silent}
        if "error" in answer:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{self._log.stem}: {answer['error']}\n{tail}")
        return answer


def prepare(*arguments: str) -> None:
    """Run `bench.peers_export` in a process of its own: this one loads no torch. Raises RuntimeError."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "peers_export.log"
    command = [sys.executable, "-m", "bench.peers_export", *arguments]
    with log.open("wb") as output:
        ended = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env={**os.environ, **SILENT},
            stdout=output,
            stderr=output,
            timeout=LOAD_SEC,
        )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: failed\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def peer(
    module: str, *arguments: str, python: str | Path = sys.executable, env: dict[str, str] | None = None
) -> Iterator[Peer]:
    """The side `bench.<module>`, run by `python`, until the block ends; its log is `<module>.log`."""
    running = Peer([str(python), "-m", f"bench.{module}", *arguments], FOLDER / f"{module}.log", env)
    try:
        yield running
    finally:
        running.stop()
