"""The control server with real processes: an app that speaks the contract by itself, deaths of either."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from demo.processes import Process
from tests.acceptance.control import ControlServer, alive


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    running = ControlServer(tmp_path, 0.4)
    try:
        yield running
    finally:
        end(running)


def end(server: ControlServer) -> None:
    server.process.stop(40)
    with contextlib.suppress(ProcessLookupError, ValueError, OSError):
        for line in (server.folder / "pids").read_text().split():
            os.kill(int(line), signal.SIGKILL)


def note(server: ControlServer, pid: int) -> None:
    """Processes that are to be gone after the test, whatever becomes of it."""
    with (server.folder / "pids").open("a") as file:
        file.write(f"{pid}\n")


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


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ControlServer]:
    running = ControlServer(tmp_path, settings={"SIWAT_CONTROL_TOKEN": "command-0123456789-command"})
    try:
        yield running
    finally:
        end(running)


def test_an_app_has_a_token_of_its_own_which_outlives_the_server_and_ends_with_it(guarded: ControlServer):
    pid = guarded.launch()
    note(guarded, pid)
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert str(guarded.token).encode() not in environment
    (token,) = (
        part.removeprefix(b"APP_TOKEN=").decode()
        for part in environment.split(b"\0")
        if part.startswith(b"APP_TOKEN=")
    )
    assert guarded.ask("GET", "/instances", token=token)[0] == 401
    guarded.kill()
    guarded.start()
    guarded.until(lambda: guarded.get("/instances/one")["ws_status"] == "connected")
    assert guarded.get("/processes/proc_one")["host_pid"] == pid
    assert guarded.post("/instances/one/terminate")["success"]
    guarded.until(lambda: guarded.get("/processes/proc_one")["status"] == "stopped")
    with pytest.raises(InvalidStatus) as refused:
        connect(guarded.socket_url, additional_headers={"Authorization": f"Bearer {token}"}).__enter__()
    assert refused.value.response.status_code == 403
    assert list((guarded.folder / "logs" / "apps").glob("*.token*")) == []
