"""The control server with real processes: an app that speaks the contract by itself, deaths of either."""

import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import Process, free_port

ROOT = Path(__file__).parent.parent.parent
APP = ROOT / "tests" / "deepstream" / "scripted_app.py"


class ControlServer:
    """A running control server, and requests to it; it may be killed and started again."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.port = free_port()
        program = [sys.executable, str(APP), "--server", "{server}", "--config", "{config}"]
        program += ["--streams", "{streams}", "--sec", str(seconds)]
        self.env = {
            "SIWAT_DATA_DIR": str(folder),
            "SIWAT_CONTROL__PORT": str(self.port),
            "SIWAT_CONTROL__CONFIG_FOLDERS": json.dumps([str(folder)]),
            "SIWAT_CONTROL__PROGRAMS": json.dumps({"*.txt": program}),
            "SIWAT_CONTROL__GPUS": "[]",
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
            return self.get("/health")["status"] == "healthy"
        return False

    def kill(self) -> None:
        os.kill(self.process.child.pid, signal.SIGKILL)
        self.process.stop()

    def get(self, path: str) -> Any:
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}/deepstream{path}"))

    def post(self, path: str, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.port}/deepstream{path}"
        headers = {"content-type": "application/json"}
        return self._ask(urllib.request.Request(url, json.dumps(body or {}).encode(), headers, method="POST"))

    def _ask(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())

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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    running = ControlServer(tmp_path, 0.4)
    try:
        yield running
    finally:
        running.process.stop(40)
        with contextlib.suppress(ProcessLookupError, ValueError, OSError):
            for line in (tmp_path / "pids").read_text().split():
                os.kill(int(line), signal.SIGKILL)


def note(server: ControlServer, pid: int) -> None:
    """Processes that are to be gone after the test, whatever becomes of it."""
    with (server.folder / "pids").open("a") as file:
        file.write(f"{pid}\n")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_folder_is_worked_through_and_everything_ends(server: ControlServer):
    pid = server.launch()
    note(server, pid)
    server.push(3)
    server.until(server.done)
    assert server.analysed() == {"0.mp4": 1, "1.mp4": 1, "2.mp4": 1}
    request = server.get("/requests/r")
    assert [file["state"] for file in request["file_list"]] == ["done"] * 3
    assert request["file_list"][0]["processed_file"] == str(server.folder / "results" / "0.jsonl")
    assert "begins" in server.get("/processes/proc_one/logs?lines=3")["log_content"]
    assert server.post("/metrics/one/refresh")["ram_mb"] == 20.0
    assert server.process.stop(40) == 0
    assert not alive(pid)
    lines = (server.folder / "logs" / "gpu_server.log").read_text().splitlines()
    assert any(" - siwatsystem.deepstream.application - INFO - " in line for line in lines)


def test_an_app_that_dies_gives_its_files_back_and_each_is_done_once(server: ControlServer):
    pid = server.launch()
    note(server, pid)
    server.push(4)
    server.until(lambda: server.counts()["done"] >= 1)
    os.kill(pid, signal.SIGKILL)
    process = server.until(
        lambda: (
            found
            if (found := server.get("/processes/proc_one"))["restarts"]
            and found["host_pid"]
            and found["host_pid"] != pid
            else None
        )
    )
    note(server, process["host_pid"])
    server.until(server.done)
    assert server.counts()["done"] == 4
    assert sum(server.analysed().values()) <= 5  # the one that it was at, perhaps twice
    assert set(server.analysed()) == {f"{number}.mp4" for number in range(4)}


def test_a_server_that_is_killed_finds_its_app_again(server: ControlServer):
    pid = server.launch()
    note(server, pid)
    server.push(6)
    server.until(lambda: server.counts()["done"] >= 1)
    server.kill()
    assert alive(pid)
    time.sleep(0.5)
    server.start()
    server.until(server.done)
    assert server.get("/processes/proc_one")["host_pid"] == pid
    assert server.counts()["done"] == 6
    assert server.analysed() == {f"{number}.mp4": 1 for number in range(6)}
    assert server.process.stop(40) == 0
    assert not alive(pid)


def test_an_app_that_ended_while_the_server_was_away_is_launched_again(server: ControlServer):
    pid = server.launch()
    note(server, pid)
    server.push(4)
    server.until(lambda: server.counts()["done"] >= 1)
    server.kill()
    os.kill(pid, signal.SIGKILL)
    server.start()
    server.until(server.done)
    process = server.get("/processes/proc_one")
    note(server, process["host_pid"])
    assert process["host_pid"] != pid
    assert set(server.analysed()) == {f"{number}.mp4" for number in range(4)}


def test_a_bad_setting_is_told_in_one_line(tmp_path: Path):
    env = {"SIWAT_DATA_DIR": str(tmp_path), "SIWAT_CONTROL__SAMPLE_DATA": str(tmp_path / "none.json")}
    process = Process([sys.executable, "-m", "siwatsystem", "control"], tmp_path / "log", env)
    assert process.child.wait(60) == 2
    process.stop()
    assert process.tail(5) == f"siwat: {tmp_path}/none.json: cannot be read (No such file or directory)"
