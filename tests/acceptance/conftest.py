"""One station for all acceptance tests: an RTSP server and a snapshot server that play the demo's clips."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.cameras import system_packages
from demo.processes import Process
from tests.acceptance.archives import DEMO, Shelf, shelf

CLIPS = sorted((DEMO.parent / "clips").glob("*.mp4"))
SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass
class Station:
    """Addresses of cameras that run."""

    rtsp: Process
    rtsp_url: str
    snapshot_url: str

    def camera(self, number: int = 0) -> str:
        return f"{self.rtsp_url}/{CLIPS[number].stem}"


def start_rtsp(log: Path, port: int = 0) -> tuple[Process, str]:
    """The demo's RTSP server with all clips; its address without the mount."""
    script = DEMO.parent / "cameras" / "rtsp_server.py"
    mounts = [f"--mount=/{clip.stem}={clip}" for clip in CLIPS]
    server = Process([SYSTEM_PYTHON, str(script), f"--port={port}", *mounts], log)
    try:
        return server, server.first_line(60).split()[-1]
    except BaseException:
        server.stop()
        raise


@contextmanager
def dying_camera(folder: Path) -> Iterator[tuple[Process, str]]:
    """A snapshot camera that a test may kill, and its address."""
    command = [sys.executable, "-m", "demo.cameras.snapshot_server", str(CLIPS[-1])]
    process = Process(command, folder / "dying.log")
    try:
        yield process, process.first_line(60).split()[-1] + "/snapshot"
    finally:
        process.stop()


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    missing = system_packages.missing()
    assert not missing, f"`make system` installs what these tests need: {missing}"
    folder = tmp_path_factory.mktemp("station")
    rtsp, address = start_rtsp(folder / "rtsp.log")
    command = [sys.executable, "-m", "demo.cameras.snapshot_server", str(CLIPS[-1])]
    snapshots = Process(command, folder / "snapshots.log")
    try:
        yield Station(rtsp, address, snapshots.first_line(60).split()[-1] + "/snapshot")
    finally:
        snapshots.stop()
        rtsp.stop()


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "demo.mpta").write_bytes(DEMO.read_bytes())
    with shelf(folder) as server:
        yield server
