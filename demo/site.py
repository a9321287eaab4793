"""A fuel station on this machine: cameras that play clips, a worker, a backend, the archive's server."""

import contextlib
import os
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from demo.backend import Camera
from demo.cameras import system_packages
from demo.processes import Process, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent
SYSTEM_PYTHON = "/usr/bin/python3"
SNAPSHOT_MS = 400


@dataclass
class Site:
    """Everything but the backend. Use as a context manager; all it started ends with it."""

    data_dir: Path
    port: int = 8000
    cameras: list[Camera] = field(default_factory=list[Camera])
    clips: dict[str, Path] = field(default_factory=dict[str, Path])
    notes: list[str] = field(default_factory=list[str])
    processes: list[Process] = field(default_factory=list[Process])

    def __enter__(self) -> "Site":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        try:
            self.archive_url = self._serve_archive()
            self._start_cameras(sorted((HERE / "clips").glob("*.mp4")))
            self._start_worker()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker(self) -> Process:
        return self.processes[-1]

    def _run(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Process:
        process = Process(command, self.data_dir / "logs" / f"{name}.log", env)
        self.processes.append(process)
        self._stack.callback(process.stop)
        return process

    def _serve_archive(self) -> str:
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HERE)))
        thread = threading.Thread(target=server.serve_forever, name="archives", daemon=True)
        thread.start()
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}/demo.mpta"

    def _start_cameras(self, clips: list[Path]) -> None:
        """RTSP for all clips but the last, which is a snapshot camera; HTTP for all without GStreamer."""
        if not clips:
            raise RuntimeError(f"no clips in {HERE / 'clips'}: python -m demo.render_clips makes them")
        missing = system_packages.missing()
        rtsp = clips[:-1] if not missing else []
        if missing:
            self.notes.append(
                "no RTSP camera: the system lacks " + ", ".join(missing) + "; HTTP ones instead"
            )
        if rtsp:
            mounts = [f"--mount=/{clip.stem}={clip}" for clip in rtsp]
            server = self._run("rtsp", [SYSTEM_PYTHON, str(HERE / "cameras" / "rtsp_server.py"), *mounts])
            address = server.first_line(20).split()[-1]
            for clip in rtsp:
                self._add(clip, f"{address}/{clip.stem}", None)
        for clip in clips[len(rtsp) :]:
            command = [sys.executable, "-m", "demo.cameras.snapshot_server", str(clip)]
            address = self._run(f"snapshot-{clip.stem}", command).first_line(20).split()[-1]
            self._add(clip, f"{address}/snapshot", SNAPSHOT_MS)

    def _add(self, clip: Path, address: str, interval: int | None) -> None:
        camera = Camera(f"display-{len(self.cameras) + 1:03d};{clip.stem}", address, interval)
        self.cameras.append(camera)
        self.clips[camera.identifier] = clip.with_suffix(".json")

    def _start_worker(self) -> None:
        wanted, self.port = self.port, free_port(self.port)
        self.redis_port, self.postgresql_port = free_port(), free_port()
        if wanted not in (0, self.port):
            self.notes.append(f"port {wanted} is taken: the worker listens on {self.port}")
        env = {
            "SIWAT_PORT": str(self.port),
            "SIWAT_HOST": "127.0.0.1",
            "SIWAT_DATA_DIR": str(self.data_dir),
            "SIWAT_CONFIG": str(ROOT / "config.json"),
            "SIWAT_EMBEDDED__REDIS_PORT": str(self.redis_port),
            "SIWAT_EMBEDDED__POSTGRESQL_PORT": str(self.postgresql_port),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIWAT_")}
        self._run("worker", [sys.executable, str(ROOT / "app.py")], {**clean, **env})

    def ended(self) -> str:
        """What to tell of a worker that has ended; empty while it runs."""
        how = self.worker.ending()
        return how and f"the worker's process {how}; its log is {self.worker.log}:\n{self.worker.tail()}"

    def ready(self) -> bool:
        """Whether the worker answers. Raises RuntimeError when it has ended."""
        if self.worker.ending():
            raise RuntimeError(self.ended())
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False
