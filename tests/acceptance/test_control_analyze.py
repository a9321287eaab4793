"""The whole service: the real control server launches real apps, which analyse real files."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.analysis.scripted_server import config_in, environment, lines_of
from tests.cameras import ROOT, film
from tests.servers import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

FILES = 4


class Site:
    """A control server, which may be killed and started again on its data."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        environ = {name: value for name, value in environment(folder / "data").items() if name != "APP_ID"}
        self._environment = environ | {
            "SIWAT_CONTROL__PORT": str(self._port),
            "SIWAT_CONTROL__CONFIG_FOLDERS": f'["{folder}"]',
        }
        self._output = (folder / "control.log").open("ab")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "siwatsystem", "control"],
            cwd=ROOT,
            env=self._environment,
            stdout=self._output,
            stderr=self._output,
        )
        until(self._answers, 90, 0.2)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> Any:
        return self._ask("get", path).json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = self._ask("post", path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self._output.close()

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return self._ask("get", "/health").status_code == 200
        except requests.ConnectionError:
            return False

    def _ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(
            method, f"http://127.0.0.1:{self._port}/deepstream{path}", json=body, timeout=150
        )


@contextmanager
def control(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    try:
        yield site
    finally:
        site.close()


def test_a_folder_of_videos_is_analysed_also_when_the_server_dies_meanwhile(tmp_path):
    config = config_in(tmp_path, tracking="file")
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(FILES):
        film(videos / f"{number}.mp4", 60)
    with control(tmp_path) as site:
        launched = site.post("/launch", {"config_path": str(config), "streams_count": 2})
        instance = launched["instance_id"]
        until(lambda: site.get(f"/instances/{instance}")["ws_status"] == "connected", 150, 0.2)
        body = {
            "camera_id": 7,
            "type": "fileset",
            "path": str(videos),
            "name": "Gate",
            "output_dir": str(out),
        }
        site.post("/analysis/start", {**body, "output_dir": str(out)})
        until(lambda: list(out.glob("*.jsonl")), 120, 0.1)
        site.kill()
        site.start()
        until(lambda: len(list(out.glob("*.jsonl"))) == FILES, 120, 0.2)
        until(lambda: site.get(f"/instances/{instance}")["ws_status"] == "connected", 90, 0.2)
        until(lambda: site.get(f"/instances/{instance}")["status"] == "idle", 60, 0.2)
        for number in range(FILES):
            (path,) = [one for one in out.glob("*.jsonl") if one.stem.startswith(str(number))]
            assert [line["frame"] for line in lines_of(path)] == list(range(60))
        site.post(f"/metrics/{instance}/refresh")
        until(lambda: site.get(f"/metrics/{instance}")["ram_mb"], 30, 0.2)
        pid = launched["host_pid"]
        site.post(f"/instances/{instance}/terminate")
        until(lambda: site.get(f"/processes/{launched['process_id']}")["status"] == "stopped", 60, 0.2)
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
