"""Real cameras for tests: RTSP and HTTP servers that can be killed, stopped and started again, and
servers that misbehave.

Use the fixtures by importing them: `from tests.cameras import pools, rtsp_server`.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from demo.cameras import system_packages
from demo.processes import Process
from siwatsystem.config import Settings, StreamSettings
from siwatsystem.streams.pool import Source, SourcePool
from tests.servers import until

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "demo" / "clips" / "dusk-visit.mp4"
SYSTEM_PYTHON = "/usr/bin/python3"
START_SEC = 60.0


def camera_settings(*, streams: dict[str, Any] | None = None, **values: Any) -> Settings:
    """Settings with short waits, for ever trying."""
    short = {"connect_timeout_sec": 2.0, "read_timeout_sec": 2.0, "first_retry_sec": 0.2}
    values = {"stale_after_sec": 3.0, "max_retries": -1, "reconnect_interval_sec": 1.0, **values}
    return Settings(streams=StreamSettings(**{**short, **(streams or {})}), **values)


def film(path: Path, frames: int, rate: int = 20, gop: int = 250) -> Path:
    """Writes a film of 64×48 pixels whose pictures grow from grey 20 towards 220; `gop`: pictures
    from one key frame to the next."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = {"sc_threshold": "0"}
        for number in range(frames):
            picture = np.full((48, 64, 3), 20 + number * 200 // frames, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def title_in_latin1(path: Path) -> Path:
    """Gives a film a title that is no UTF-8, as old cameras and editors do."""
    whole = path.with_name(f"whole-{path.name}")
    path.rename(whole)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        target.metadata["title"] = "Cafe XY"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole.unlink()
    path.write_bytes(path.read_bytes().replace(b"Cafe XY", b"Caf\xe9 XY"))
    return path


class RtspServer:
    """The demo's RTSP camera; the port stays over kills and starts. `login`: user and password."""

    def __init__(self, folder: Path, login: tuple[str, str] | None = None, clip: Path = CLIP) -> None:
        self._log = folder / "rtsp.log"
        self._arguments = [f"--mount=/cam={clip}", f"--mount=/other={clip}"]
        if login is not None:
            self._arguments += ["--user", login[0], "--password", login[1]]
        self._process: Process | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it if it does not run; returns when it accepts clients."""
        if self._process is None:
            script = ROOT / "demo" / "cameras" / "rtsp_server.py"
            command = [SYSTEM_PYTHON, str(script), f"--port={self.port}", *self._arguments]
            process = self._process = Process(command, self._log)
            self.port = int(process.first_line(START_SEC).rpartition(":")[2])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.child.pid

    def url(self, mount: str = "cam", login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/{mount}"

    def clients(self) -> int:
        """Connections that are open to it."""
        connections = psutil.Process(self.pid).net_connections("tcp")
        return sum(one.status == psutil.CONN_ESTABLISHED for one in connections)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.stop()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and are accepted by the kernel, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def rtsp(folder: Path, login: tuple[str, str] | None = None, clip: Path = CLIP) -> Iterator[RtspServer]:
    """A running RTSP server, killed at the end."""
    missing = system_packages.missing()
    assert not missing, f"`make system` installs what these tests need: {missing}"
    server = RtspServer(folder, login, clip)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def rtsp_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    with rtsp(tmp_path_factory.mktemp("rtsp")) as server:
        yield server


@pytest.fixture
def rtsp_server(rtsp_of_module: RtspServer) -> RtspServer:
    """A running RTSP server that nobody is connected to."""
    rtsp_of_module.start()
    rtsp_of_module.resume()
    until(lambda: rtsp_of_module.clients() == 0)
    return rtsp_of_module


@contextmanager
def snapshots(folder: Path, *arguments: str) -> Iterator[str]:
    """The demo's snapshot camera; gives `http://127.0.0.1:PORT`."""
    command = [sys.executable, "-m", "demo.cameras.snapshot_server", str(CLIP), *arguments]
    process = Process(command, folder / "snapshots.log")
    try:
        yield process.first_line(START_SEC).split()[-1]
    finally:
        process.stop()


Serve = Callable[[socket.socket], None]


@contextmanager
def misbehaving(serve: Serve, host: str = "127.0.0.1") -> Iterator[int]:
    """A TCP server whose connections `serve` treats, in a thread each; gives its port."""
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    threads: list[threading.Thread] = []
    open_ones: list[socket.socket] = []

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for connection in open_ones:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


class Pool(SourcePool):
    """A pool that remembers what it told: (label, online, error code or None)."""

    def __init__(self, settings: Settings) -> None:
        self.told: list[tuple[str, bool, str | None]] = []
        super().__init__(settings, self._note)

    def _note(self, source: Source) -> None:
        self.told.append((source.spec.label, source.online, source.error.code if source.error else None))


@pytest.fixture
def pools() -> Iterator[Callable[..., Pool]]:
    """Makes pools from `camera_settings`' arguments; they are closed at the end of the test."""
    made: list[Pool] = []

    def make(**values: Any) -> Pool:
        made.append(Pool(camera_settings(**values)))
        return made[-1]

    yield make
    for pool in made:
        pool.close(5)
    assert not reader_threads()


def reader_threads() -> list[threading.Thread]:
    """Threads that read cameras."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("cam-")]


def descriptors() -> int:
    """Open files and sockets of this process."""
    return psutil.Process().num_fds()
