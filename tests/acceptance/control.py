"""The real control server as a child process, and apps that it launches."""

import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.processes import Process, free_port

ROOT = Path(__file__).parent.parent.parent
APP = ROOT / "tests" / "deepstream" / "scripted_app.py"


class ControlServer:
    """A running control server, and requests to it; it may be killed and started again."""

    def __init__(self, folder: Path, seconds: float = 0.4, settings: dict[str, str] | None = None) -> None:
        """`settings`: further environment variables."""
        settings = settings or {}
        self.folder = folder
        self.token = settings.get("SIWAT_CONTROL_TOKEN")
        self.port = free_port()
        program = [sys.executable, str(APP), "--server", "{server}", "--config", "{config}"]
        program += ["--streams", "{streams}", "--sec", str(seconds)]
        self.env = {
            "SIWAT_DATA_DIR": str(folder),
            "SIWAT_CONTROL__PORT": str(self.port),
            "SIWAT_CONTROL__CONFIG_FOLDERS": json.dumps([str(folder)]),
            "SIWAT_CONTROL__PROGRAMS": json.dumps({"*.txt": program}),
            "SIWAT_CONTROL__GPUS": "[]",
            **settings,
        }
        (folder / "a.txt").write_text("[source0]\n")
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "siwatsystem", "control"]
        self.process = Process(command, self.folder / "server.log", self.env)
        self.until(self._ready, 60)

    def _ready(self) -> bool:
        assert self.process.child.poll() is None, self.process.tail(30)
        with contextlib.suppress(OSError):
            return self.get("/health")["status"] in ("healthy", "degraded")
        return False

    def kill(self) -> None:
        os.kill(self.process.child.pid, signal.SIGKILL)
        self.process.stop()

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/deepstream/ws"

    def get(self, path: str) -> Any:
        return self.ask("GET", path)[1]

    def post(self, path: str, body: Any = None) -> Any:
        return self.ask("POST", path, body or {})[1]

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """Status and body."""
        headers = {} if body is None else {"content-type": "application/json"}
        if (known := token or self.token) is not None:
            headers["authorization"] = f"Bearer {known}"
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/deepstream{path}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data, headers, method=method), timeout=20
            ) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def until(self, look: Callable[[], Any], seconds: float = 45.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, self.process.tail(40)
            time.sleep(0.05)
        return found

    def launch(self) -> int:
        """An app with one slot; its process id."""
        body = {"config_path": str(self.folder / "a.txt"), "streams_count": 1, "instance_id": "one"}
        answer = self.post("/launch", body)
        assert answer["success"], answer
        self.until(lambda: self.get("/instances/one")["ws_status"] == "connected")
        return int(answer["host_pid"])

    def push(self, files: int) -> None:
        videos = self.folder / "videos"
        videos.mkdir()
        for number in range(files):
            (videos / f"{number}.mp4").write_bytes(b"x")
        body = {"request_id": "r", "camera_id": 1, "type": "fileset", "path": str(videos), "name": "Gate"}
        answer = self.post("/analysis/start", {**body, "output_dir": str(self.folder / "results")})
        assert answer["status"] == "started", answer

    def counts(self) -> dict[str, int]:
        return self.get("/requests/r")["files"]

    def done(self) -> bool:
        return self.get("/requests/r")["state"] == "done"

    def analysed(self) -> Counter[str]:
        """How often each file was analysed to its end."""
        log = self.folder / "a.txt.done"
        return Counter(Path(line).name for line in log.read_text().splitlines())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
