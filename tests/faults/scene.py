"""What a soak runs on: the worker, its cameras and databases behind proxies, and backends."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import rig
from tests.acceptance.archives import Shelf, shelf
from tests.acceptance.worker import WorkerProcess, worker
from tests.cameras import RtspServer, rtsp
from tests.faults.backends import Backend, Guest
from tests.faults.proxy import FaultProxy
from tests.faults.records import CARS, Databases, databases
from tests.faults.site import archive
from tests.faults.snapshots import SnapshotCamera, snapshot_camera

CAMERAS = {"rtsp": "display-1;rtsp", "http": "display-2;http"}
"""The subscriptions that must go on, by the kind of camera."""
FRAMES_PER_SEC = 2.0


@dataclass
class Scene:
    """Everything, running."""

    worker: WorkerProcess
    process: psutil.Process
    there: Databases
    rtsp: RtspServer
    snapshots: SnapshotCamera
    shelf: Shelf
    proxies: dict[str, FaultProxy]
    """By what is behind them: `rtsp`, `http`, `redis`, `postgresql`, `shelf`."""
    backend: Backend
    guest: Guest
    payload: dict[str, Any]
    """The subscription of the RTSP camera, for other clients."""
    chance: random.Random

    @property
    def alive(self) -> bool:
        return self.worker.process.child.poll() is None

    def metrics(self) -> dict[str, float]:
        """Every series as written. Raises OSError where the worker does not answer."""
        lines = self.worker.get("/metrics")[1].decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def analysed(self) -> dict[str, float]:
        """Frames analysed so far of each camera that must go on, by its kind."""
        series = self.metrics()
        name = 'siwat_frames_analysed_total{{subscription="{}"}}'
        return {kind: series.get(name.format(one), 0.0) for kind, one in CAMERAS.items()}

    def servers_away(self) -> list[str]:
        """Servers that the outbox cannot reach now, in the worker's words."""
        servers = self.worker.json("/health")["outbox"]["servers"]
        return [f"{one['server']}: {one['error']}" for one in servers if one["error"]]

    def waiting(self) -> int:
        """Actions that are not delivered yet, on disk or in memory."""
        outbox = self.worker.json("/health")["outbox"]
        return int(outbox["depth"]) + int(outbox["pending"])


def total(series: dict[str, float], name: str, *labels: str) -> float:
    """The sum of a metric over its labels, or of those series that hold all of `labels` as written."""
    found = [one for one in series if one == name or one.startswith(f"{name}{{")]
    return sum(series[one] for one in found if all(label in one for label in labels))


@contextmanager
def scene(folder: Path, chance: random.Random, **env: str) -> Iterator[Scene]:
    """A scene with all its data below `folder`; `env` are the worker's settings as variables."""
    with ExitStack() as stack:
        enter = stack.enter_context
        there = enter(databases(folder / "servers"))
        camera, snapshots = enter(rtsp(folder, clip=CARS)), enter(snapshot_camera(CARS))
        (folder / "shelf").mkdir()
        archives = enter(shelf(folder / "shelf"))
        rig.archive("cars", rig.without_actions, archives.folder)
        behind = {"rtsp": camera.port, "http": snapshots.port, "shelf": archives.port}
        behind |= {"redis": there.redis.config["port"], "postgresql": there.postgresql.config["port"]}
        proxies = {name: enter(FaultProxy(port)) for name, port in behind.items()}
        packed = there.pack(folder / "cars.mpta", proxies["redis"].port, proxies["postgresql"].port)
        settings = {
            "SIWAT_MODELS__ALLOW_FILE": "true",
            "SIWAT_MAX_RETRIES": "-1",
            "SIWAT_TARGET_FPS": str(FRAMES_PER_SEC),
            "SIWAT_DISCONNECT_GRACE_SEC": "2",
            **env,
        }
        running = enter(worker(folder / "worker", **settings))
        model = {"modelUrl": packed.as_uri(), "modelId": 7, "modelName": "Cars"}
        payload = {"rtspUrl": f"rtsp://127.0.0.1:{proxies['rtsp'].port}/cam", **model}
        address = f"http://127.0.0.1:{proxies['http'].port}/snapshot"
        other = {"snapshotUrl": address, "snapshotInterval": 250, **model}
        detector = {"modelUrl": archive().as_uri(), "modelId": 8, "modelName": "Detector"}
        backend = Backend(running.port, {CAMERAS["rtsp"]: payload, CAMERAS["http"]: other})
        nobody = {**payload, "rtspUrl": "rtsp://127.0.0.1:9/nobody"}
        enter(backend)
        guest = enter(Guest(running.port, [payload, other, {**payload, **detector}, nobody], chance))
        process = psutil.Process(running.process.child.pid)
        yield Scene(
            running, process, there, camera, snapshots, archives, proxies, backend, guest, payload, chance
        )
