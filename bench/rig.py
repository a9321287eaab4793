"""What benches of the whole worker stand on: the real process, real RTSP cameras, a real client.

Everything listens on loopback and ends with its block. Processor time is that of the worker process
alone (user and system, all threads), so cameras and clients beside it do not count.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from demo.cameras import system_packages
from demo.processes import Process, free_port

ROOT = Path(__file__).parent.parent
DATA = ROOT / ".demo" / "bench-worker"
ARCHIVE = ROOT / "demo" / "demo.mpta"
SYSTEM_PYTHON = "/usr/bin/python3"
PATIENCE_SEC = 120.0
Message = dict[str, Any]


class Worker:
    """A running worker. `env` are settings as variables (`SIWAT_TARGET_FPS`: `10`)."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.log = folder / "worker.out"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIWAT_")}
        own = {
            "SIWAT_HOST": "127.0.0.1",
            "SIWAT_PORT": str(self.port),
            "SIWAT_DATA_DIR": str(folder),
            "SIWAT_CONFIG": str(ROOT / "config.json"),
            "SIWAT_MODELS__ALLOW_FILE": "true",
        }
        self.started = time.monotonic()
        self._process = Process([sys.executable, str(ROOT / "app.py")], self.log, {**clean, **own, **env})
        self.os = psutil.Process(self._process.child.pid)

    @property
    def pid(self) -> int:
        return self._process.child.pid

    def cpu_seconds(self) -> float:
        """Processor time of the process so far, all threads."""
        times = self.os.cpu_times()
        return times.user + times.system

    def memory_mb(self) -> float:
        """Its own memory in megabytes (USS: what would be free without it)."""
        return self.os.memory_full_info().uss / 1e6

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> bytes:
        """Raises urllib's errors."""
        with urllib.request.urlopen(self.url(path), timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics` by its series as written (`name{label="value"}`)."""
        lines = self.get("/metrics").decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def metric(self, name: str) -> float:
        """The sum of a series over its labels."""
        return sum(value for series, value in self.metrics().items() if series.partition("{")[0] == name)

    def wait_ready(self) -> float:
        """Wait until it answers. Returns the seconds since its start."""
        while time.monotonic() < self.started + PATIENCE_SEC:
            if self._process.child.poll() is not None:
                raise RuntimeError(f"the worker has ended:\n{self._process.tail(40)}")
            with contextlib.suppress(urllib.error.URLError, OSError):
                self.get("/health")
                return time.monotonic() - self.started
            time.sleep(0.005)
        raise RuntimeError(f"the worker does not answer:\n{self._process.tail(40)}")

    def stop(self) -> int:
        return self._process.stop()


@contextlib.contextmanager
def worker(folder: Path = DATA, **env: str) -> Iterator[Worker]:
    """A worker with its data (exported models among it, kept from run to run) in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Worker(folder, env)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def cameras(mounts: Mapping[str, Path], log: Path | None = None) -> Iterator["Cameras"]:
    """An RTSP server with a camera per name, each playing its clip for ever at its own pace.

    Raises RuntimeError that names Debian's packages where they are missing.
    """
    missing = system_packages.missing()
    if missing:
        raise RuntimeError(f"RTSP cameras need {', '.join(missing)}: make system installs them")
    script = ROOT / "demo" / "cameras" / "rtsp_server.py"
    arguments = [f"--mount=/{name}={path}" for name, path in mounts.items()]
    process = Process([SYSTEM_PYTHON, str(script), *arguments], log or DATA / "cameras.log")
    try:
        yield Cameras(process, process.first_line(PATIENCE_SEC).split()[-1])
    finally:
        process.stop()


class Cameras:
    """The running server of `cameras`."""

    def __init__(self, process: Process, address: str) -> None:
        self._process = process
        self.address = address

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def stall(self) -> None:
        """Stop sending, connections stay open (SIGSTOP)."""
        os.kill(self._process.child.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.child.pid, signal.SIGCONT)


class Client:
    """A backend's connection, read by a thread of its own so that it is never a slow reader.

    Counts what came by type (`counts`) and by subscription (`detections`); `on_message` sees each
    message with the moment it came (`time.monotonic`), on the reading thread.
    """

    def __init__(self, running: Worker, on_message: Callable[[Message, float], None] | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.detections: Counter[str] = Counter()
        self.errors: list[Message] = []
        self.state: Message | None = None
        self._on_message = on_message
        self._socket = connect(
            f"ws://127.0.0.1:{running.port}/", compression=None, open_timeout=30, max_size=None
        )
        self._thread = threading.Thread(target=self._read, name="client", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join(10)

    def send(self, message: Message) -> None:
        self._socket.send(json.dumps(message))

    def subscribe(
        self, identifier: str, rtsp_url: str, archive: Path = ARCHIVE, model_id: int = 101, **more: Any
    ) -> None:
        payload = {
            "subscriptionIdentifier": identifier,
            "rtspUrl": rtsp_url,
            "modelUrl": archive.resolve().as_uri(),
            "modelName": archive.stem,
            "modelId": model_id,
            **more,
        }
        self.send({"type": "subscribe", "payload": payload})

    def online(self) -> set[str]:
        """Subscriptions that the newest state report calls online."""
        found = [] if self.state is None else self.state["cameraConnections"]
        return {one["subscriptionIdentifier"] for one in found if one["online"]}

    def wait(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE_SEC) -> None:
        """Until `condition` holds. Raises RuntimeError with the worker's errors when it never does."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                told = [message["error"] for message in self.errors[-5:]]
                raise RuntimeError(f"{what}: not within {timeout:.0f} s; the worker told: {told}")
            time.sleep(0.02)

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                text = self._socket.recv()
                now = time.monotonic()
                message: Message = json.loads(text)
                kind = message["type"]
                self.counts[kind] += 1
                if kind == "imageDetection":
                    self.detections[message["subscriptionIdentifier"]] += 1
                elif kind == "stateReport":
                    self.state = message
                elif kind == "error":
                    self.errors.append(message)
                if self._on_message is not None:
                    self._on_message(message, now)


def archive(
    name: str, change: Callable[[dict[str, Any]], None], folder: Path = ROOT / ".demo" / "bench-archives"
) -> Path:
    """The demo's archive with its pipeline.json changed in place by `change` (which gets all of it)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.mpta"
    with zipfile.ZipFile(ARCHIVE) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry.endswith("pipeline.json"):
                pipeline = json.loads(data)
                change(pipeline)
                data = json.dumps(pipeline).encode()
            target.writestr(entry, data)
    return path


def without_actions(pipeline: dict[str, Any]) -> None:
    """For `archive`: nothing is stored or recorded, what is seen is only told."""
    for server in ("redis", "postgresql"):
        pipeline.pop(server, None)
    nodes = [pipeline["pipeline"]]
    for node in nodes:
        node.pop("actions", None)
        node.pop("parallelActions", None)
        nodes.extend(node.get("branches", []))


def detector_only(pipeline: dict[str, Any]) -> None:
    """For `archive`: the root alone, without branches, tracking and actions."""
    without_actions(pipeline)
    pipeline["pipeline"].pop("branches", None)
    pipeline["pipeline"].pop("tracking", None)
