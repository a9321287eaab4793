"""Apps and clients of the control server that do wrong: each has its status or state with the reason, and an
app that does right goes on beside them."""

import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.control import ControlServer
from tests.analysis.scripted_server import config_in
from tests.cameras import film
from tests.deepstream.docker_engine import FakeEngine

pytestmark = [pytest.mark.xdist_group("control_bad_input"), pytest.mark.timeout(180)]
BAD_APP = Path(__file__).parent / "bad_app.py"
NUMBERS = itertools.count(1)


def programs(folder: Path) -> dict[str, str]:
    """Settings under which `*.txt` is run by an app that does right, `*.bad` by one that does not."""
    good = Path(__file__).parent.parent / "deepstream" / "scripted_app.py"
    common = ["--server", "{server}", "--config", "{config}", "--streams", "{streams}"]
    named = {
        "*.txt": [sys.executable, str(good), *common, "--sec", "0.05"],
        "*.bad": [sys.executable, str(BAD_APP), *common],
    }
    return {
        "SIWAT_CONTROL__PROGRAMS": json.dumps(named),
        "SIWAT_CONTROL__START_TIMEOUT_SEC": "3",
        "SIWAT_CONTROL__RESTARTS": "0",
        "SIWAT_CONTROL__DOCKER": "true",
        "SIWAT_CONTROL__DOCKER_SOCKET": str(folder / "engine.sock"),
        "SIWAT_CONTROL__CONTAINER_PROGRAMS": json.dumps({"*": ["/opt/app", "-c", "{config}"]}),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlServer]:
    folder = tmp_path_factory.mktemp("control")
    with FakeEngine(folder / "engine.sock", {"stopped": "exited", "gone": "dead"}):
        running = ControlServer(folder, settings=programs(folder))
        try:
            running.launch()
            (folder / "good").mkdir()
            for name in ("a.mp4", "b.mp4"):
                (folder / "good" / name).write_bytes(b"x")
            yield running
        finally:
            running.process.stop(40)


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each of these the app that does right still does."""
    yield
    if "server" in request.fixturenames:
        running: ControlServer = request.getfixturevalue("server")
        number = f"good{next(NUMBERS)}"
        body = {"request_id": number, "camera_id": 1, "type": "fileset", "instance_id": "one"}
        answer = running.post("/analysis/start", {**body, "path": str(running.folder / "good"), "name": "G"})
        assert answer["status"] == "started", answer
        running.until(lambda: running.get(f"/requests/{number}")["state"] == "done")
        apps = running.get("/instances")
        crashed = [app["instance_id"] for app in apps if app["state"] == "crashed"]
        problems = running.get("/health")["problems"]
        assert [problem.split()[0] for problem in problems] == crashed, "nothing else is wrong"


def launch(server: ControlServer, way: str) -> str:
    """A bad app; its instance id."""
    name = f"bad{next(NUMBERS)}"
    config = server.folder / f"{name}.bad"
    config.write_text(way)
    body = {"config_path": str(config), "streams_count": 1, "instance_id": name}
    assert server.post("/launch", body)["success"]
    return name


def given_up(server: ControlServer, name: str) -> dict[str, Any]:
    """The instance once it is."""
    server.until(lambda: server.get(f"/instances/{name}")["state"] == "crashed")
    instance = server.get(f"/instances/{name}")
    process = server.get(f"/processes/proc_{name}")
    assert (instance["status"], process["status"]) == ("error", "error")
    assert process["error_message"] == instance["reason"]
    return instance


@pytest.mark.parametrize(
    ("way", "reason", "logged"),
    [
        ("dies", "ended with code 1", "no GPU memory is left"),
        ("never connects", "it never said app_ready", None),
        ("says nothing", "it never said app_ready", None),
        ("another id", "ended with code 1", "closed: 1008"),
        ("another path", "another config than it was launched with", "closed: 1008"),
        ("another count", "1 streams were expected, the app has 5", "closed: 1008"),
    ],
)
def test_an_app_that_does_not_begin_as_it_must_is_given_up_with_the_reason(
    server: ControlServer, way: str, reason: str, logged: str | None
):
    instance = given_up(server, launch(server, way))
    assert reason in instance["reason"]
    if logged is not None:
        assert any(logged in line for line in instance["log_tail"]), instance["log_tail"]


@pytest.mark.parametrize(("way", "code"), [("floods", 1008), ("too large", 1009), ("too deep", 1008)])
def test_an_app_that_breaks_a_limit_is_closed(server: ControlServer, way: str, code: int):
    instance = given_up(server, launch(server, way))
    assert any(f"closed: {code}" in line for line in instance["log_tail"]), instance["log_tail"]


def test_answers_to_what_nobody_asked_change_nothing(server: ControlServer):
    before = server.get("/requests")["total_count"]
    name = launch(server, "answers nobody")
    server.until(lambda: server.get(f"/metrics/{name}").get("cpu_percent") == 7)
    instance = server.get(f"/instances/{name}")
    assert (instance["state"], instance["status"], instance["ws_status"]) == ("running", "idle", "connected")
    assert server.get(f"/analysis/status/{name}")["streams"] == [
        {"stream_id": 0, "status": "idle", "cameras": []}
    ]
    assert server.get("/requests")["total_count"] == before
    server.post(f"/instances/{name}/terminate")
    os.kill(server.get(f"/processes/proc_{name}")["host_pid"], signal.SIGKILL)
    server.until(lambda: server.get(f"/processes/proc_{name}")["status"] == "stopped")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"config_path": "{folder}/none.txt"}, 404, "there is no"),
        ({"config_path": "/etc/hostname"}, 403, "control.config_folders"),
        ({"config_path": "{folder}/../a.txt"}, 403, "control.config_folders"),
        ({"config_path": "{folder}"}, 422, "is not a file"),
        ({"config_path": "{folder}/a.txt", "gpu_allocated": [0]}, 422, "there is no GPU 0"),
        ({"config_path": "{folder}/a.txt", "docker_container": "stopped"}, 409, "stopped"),
        ({"config_path": "{folder}/a.txt", "docker_container": "nowhere"}, 404, "nowhere"),
        ({"config_path": "{folder}/a.txt", "additional_args": ["--evil"]}, 403, "control.additional_args"),
        ({"config_path": "{folder}/a.txt", "instance_id": "one"}, 409, "lives already"),
        ({"config_path": "{folder}/a.txt", "streams_count": 2000}, 422, "streams_count"),
        ({"config_path": "{folder}/a.txt", "streams_count": 256, "gpu_allocated": [5]}, 422, "no GPU 5"),
    ],
)
def test_a_launch_that_cannot_be_says_why(server: ControlServer, body: Any, status: int, said: str):
    filled = json.loads(json.dumps(body).replace("{folder}", str(server.folder)))
    found, answer = server.ask("POST", "/launch", filled)
    assert (found, answer["success"]) == (status, False), answer
    assert said in answer["detail"]
    assert answer["message"] == answer["detail"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"type": "fileset", "path": "{folder}/empty"}, 422, "has no videos"),
        ({"type": "fileset", "path": "{folder}/none"}, 404, "is not there"),
        ({"type": "fileset", "path": "{folder}/good/a.mp4"}, 422, "a.mp4"),
        ({"type": "file", "path": "{folder}/a.txt"}, 422, "is no video"),
        ({"type": "file", "path": "{folder}/good/none.mp4"}, 404, "is not there"),
        (
            {"type": "file", "path": "/v", "files": [{"file_id": 1, "file_path": "/v/notes.txt"}]},
            422,
            "no video",
        ),
        ({"type": "film", "path": "/v"}, 422, "type"),
        ({"type": "fileset", "path": "{folder}/good", "instance_id": "nobody"}, 404, "nobody"),
        ({"type": "fileset", "path": "{folder}/good", "instance_id": "one", "stream_id": 9}, 404, "9"),
    ],
)
def test_an_analysis_that_cannot_be_says_why(server: ControlServer, body: Any, status: int, said: str):
    (server.folder / "empty").mkdir(exist_ok=True)
    filled = json.loads(json.dumps(body).replace("{folder}", str(server.folder)))
    found, answer = server.ask("POST", "/analysis/start", {"camera_id": 1, "name": "G", **filled})
    assert (found, answer["success"]) == (status, False), answer
    assert said in answer["detail"]


def closing_code(socket: ClientConnection, seconds: float = 30.0) -> int:
    try:
        while True:
            socket.recv(seconds)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def test_a_server_that_goes_away_says_so_and_takes_nobody_new(tmp_path: Path):
    samples = {"deepstream_instances": [{"instance_id": "alpha", "config_path": "/configs/a.txt"}]}
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    settings = {"SIWAT_CONTROL__SAMPLE_DATA": str(tmp_path / "samples.json"), **programs(tmp_path)}
    server = ControlServer(tmp_path, settings=settings)
    with contextlib.ExitStack() as stack:
        stack.callback(server.process.stop, 40)
        name = launch(server, "stubborn")
        server.until(lambda: server.get(f"/instances/{name}")["ws_status"] == "connected")
        app = stack.enter_context(connect(server.socket_url))
        said = {"type": "app_ready", "instance_id": "alpha", "config_path": "/configs/a.txt"}
        app.send(json.dumps({**said, "streams_count": 1}))
        assert json.loads(app.recv(20))["status"] == "ok"
        os.kill(server.process.child.pid, signal.SIGTERM)
        assert json.loads(app.recv(20))["type"] == "terminate_app"
        status, health = server.ask("GET", "/health")
        assert (status, health["status"]) == (503, "shutting_down")
        assert closing_code(stack.enter_context(connect(server.socket_url))) == 1013
        body = {"camera_id": 1, "type": "videostream", "path": "rtsp://a", "name": "G"}
        assert server.ask("POST", "/analysis/start", body)[0] == 503
        config = {"config_path": str(server.folder / "a.txt")}
        assert server.ask("POST", "/launch", config)[0] == 503
        os.kill(server.get(f"/processes/proc_{name}")["host_pid"], signal.SIGKILL)
        app.send(json.dumps({"type": "app_terminated", "status": "ok", "message": "bye"}))
        assert closing_code(app) == 1001
        assert server.process.child.wait(30) == 0


@pytest.mark.long
def test_a_file_that_is_no_video_and_one_that_has_vanished_fail_alone(tmp_path: Path):
    settings = {
        **programs(tmp_path),
        "SIWAT_CONTROL__START_TIMEOUT_SEC": "120",
        "SIWAT_RUNTIME__BACKEND": "torch",
        "SIWAT_RUNTIME__DEVICE": "cpu",
        "SIWAT_RUNTIME__THREADS": "1",
    }
    videos = tmp_path / "videos"
    videos.mkdir()
    film(videos / "a.mp4", 20)
    (videos / "b.mp4").write_bytes(b"no video at all" * 100)
    film(videos / "c.mp4", 20)
    film(videos / "d.mp4", 20)
    server = ControlServer(tmp_path, settings=settings)
    try:
        body = {"config_path": str(config_in(tmp_path)), "streams_count": 1, "instance_id": "real"}
        assert server.post("/launch", body)["success"]
        server.until(lambda: server.get("/instances/real")["ws_status"] == "connected", 120)
        request = {"request_id": "r", "camera_id": 1, "type": "fileset", "path": str(videos), "name": "G"}
        answer = server.post("/analysis/start", {**request, "output_dir": str(tmp_path / "out")})
        assert answer["status"] == "started", answer
        (videos / "c.mp4").unlink()
        server.until(lambda: server.get("/requests/r")["state"] in ("done", "failed"), 120)
        found = server.get("/requests/r")
        assert [file["state"] for file in found["file_list"]] == ["done", "failed", "failed", "done"]
        assert all(file["error"] for file in found["file_list"][1:3])
        assert server.get("/instances/real")["status"] == "idle"
    finally:
        server.process.stop(40)
