"""The REST routes field by field, and the apps' WebSocket, against a server whose launcher starts nothing."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.websockets import WebSocketDisconnect

from siwatsystem.deepstream import rest, rest_analysis, rest_requests
from siwatsystem.deepstream.admission import Refused
from tests.deepstream.site import Site, site

FILES = [{"file_id": number, "file_path": f"/videos/{number}.mp4"} for number in (7, 8)]
REQUEST: dict[str, Any] = {
    "camera_id": 3,
    "type": "fileset",
    "path": "/videos",
    "name": "Gate",
    "output_dir": "/results",
    "files": FILES,
}


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as running:
        yield running


def until(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)
    return found


def refused(answer: Any, status: int) -> str:
    body = answer.json()
    assert answer.status_code == status, body
    assert body["success"] is False
    assert body["message"] == body["detail"]
    return body["detail"]


# --- processes and instances -----------------------------------------------------------------


def test_a_launch_is_answered_with_its_process(one: Site):
    answer = one.post("/launch", {"config_path": "/configs/a.txt", "gpu_allocated": []})
    body = rest.Launched.model_validate(answer.json())
    assert (answer.status_code, body.success, body.host_pid) == (200, True, 4711)
    assert re.fullmatch(r"stream_\d+_[0-9a-f]{8}", body.instance_id)
    listed = rest.Processes.model_validate(one.get("/processes").json())
    assert (listed.total_count, listed.running_count) == (1, 1)
    process = rest.Process.model_validate(one.get(f"/processes/{body.process_id}").json())
    assert process == rest.Process.model_validate(
        one.get(f"/processes/by-instance/{body.instance_id}").json()
    )
    assert (process.status, process.container_pid, process.command) == ("running", None, "app")
    logs = rest.Logs.model_validate(one.get(f"/processes/{body.process_id}/logs", lines=1).json())
    assert (logs.log_content, logs.lines_requested) == ("ready\n", 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"config_path": "/configs/missing.txt"}, 404),
        ({"config_path": "/configs/a.txt", "docker_container": "box"}, 403),
        ({"config_path": "/configs/gone"}, 503),
        ({"config_path": "/configs/a.txt", "gpu_allocated": [1, 1]}, 422),
        ({"config_path": "/configs/a.txt", "gpu_allocated": [900]}, 422),
        ({"config_path": "/configs/a.txt", "streams_count": 0}, 422),
        ({"config_path": "/configs/a.txt", "instance_id": "../x"}, 422),
    ],
)
def test_a_launch_that_is_refused_says_why(one: Site, body: dict[str, Any], status: int):
    assert refused(one.post("/launch", body), status)


def test_an_instance_id_lives_once_and_a_request_id_is_for_one_command(one: Site):
    one.launch()
    assert "lives already" in refused(
        one.post("/launch", {"instance_id": "one", "config_path": "/configs/a.txt"}), 409
    )
    again = {"request_id": "l", "config_path": "/configs/a.txt", "instance_id": "two"}
    assert one.post("/launch", again).json() == one.post("/launch", again).json()
    refused(one.post("/launch", {**again, "instance_id": "three"}), 409)


@pytest.mark.parametrize(
    "path",
    [
        "/processes/x",
        "/processes/x/logs",
        "/processes/by-instance/x",
        "/instances/x",
        "/analysis/status/x",
        "/metrics/x",
        "/requests/x",
        "/nothing",
    ],
)
def test_what_is_not_there_is_404(one: Site, path: str):
    refused(one.get(path), 404)


@pytest.mark.parametrize("lines", [0, 1001, "x"])
def test_logs_have_1_to_1000_lines(one: Site, lines: Any):
    one.launch()
    refused(one.get("/processes/proc_one/logs", lines=lines), 422)


def test_an_app_is_ended_and_cleaned_up(one: Site):
    one.launch()
    assert one.post("/processes/proc_one/terminate").json()["success"]
    until(lambda: one.get("/processes/proc_one").json()["status"] == "stopped")
    assert one.launcher.signals[0].signal == "TERM"
    done = rest.Done.model_validate(one.post("/processes/cleanup").json())
    assert done.removed == 1
    assert one.launcher.forgotten == ["one"]
    refused(one.post("/instances/one/terminate"), 404)


def test_an_instance_tells_its_connection(one: Site):
    one.launch()
    instance = rest.Instance.model_validate(one.get("/instances/one").json())
    assert (instance.status, instance.ws_status) == ("disconnected", "disconnected")
    with one.app() as app:
        ack = app.hear("execute_ack")
        assert (ack["status"], ack["config_verified"], ack["streams_count_verified"]) == ("ok", True, True)
        (instance,) = [rest.Instance.model_validate(each) for each in one.get("/instances").json()][-1:]
        assert (instance.status, instance.ws_status, instance.streams_count) == ("idle", "connected", 2)
    until(lambda: one.get("/instances/one").json()["ws_status"] == "reconnecting")


# --- the handshake ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instance_id", "streams", "code"),
    [("two", 2, "UNKNOWN_INSTANCE"), ("one", 3, "STREAMS_COUNT_MISMATCH")],
)
def test_an_app_that_does_not_agree_is_told_and_closed(one: Site, instance_id: str, streams: int, code: str):
    one.launch()
    with one.app(instance_id, streams) as app:
        ack = app.hear("execute_ack")
        assert (ack["status"], ack["error_code"]) == ("error", code)
        with pytest.raises(WebSocketDisconnect) as closed:
            app.socket.receive_json()
        assert closed.value.code == 1008


@pytest.mark.parametrize(
    "first", ['{"type": "push_ack", "stream_id": 0, "camera_id": 1, "status": "ok"}', "no"]
)
def test_app_ready_comes_first(one: Site, first: str):
    with suppress(CancelledError), one.http.websocket_connect("/deepstream/ws") as socket:
        socket.send_text(first)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1008


@pytest.mark.parametrize(
    ("text", "code"), [("[" * 40 + "]" * 40, 1008), ('{"type": "' + "x" * 1024 * 1024 + '"}', 1009)]
)
def test_what_is_too_deep_or_too_large_closes(one: Site, text: str, code: int):
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        app.socket.send_text(text)
        with pytest.raises(WebSocketDisconnect) as closed:
            app.socket.receive_json()
        assert closed.value.code == code


def test_what_is_no_message_is_passed_over(one: Site):
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        for text in ("{", '{"type": "hello"}', '{"type": "file_done"}'):
            app.socket.send_text(text)
        app.say("metrics_response", cpu_percent=1, ram_mb=2)
        metrics = until(lambda: one.get("/metrics/one").json()["cpu_percent"])
        assert metrics == 1
        assert rest.Metrics.model_validate(one.get("/metrics").json()[-1]).ram_mb == 2


def test_a_flood_closes(tmp_path: Path):
    with site(tmp_path, settings={"websocket": {"rate_per_sec": 1, "burst": 5}}) as one:
        one.launch()
        with one.app() as app:
            app.hear("execute_ack")
            for _ in range(6):
                app.say("metrics_response", cpu_percent=1, ram_mb=2)
            with pytest.raises(WebSocketDisconnect) as closed:
                app.socket.receive_json()
            assert closed.value.code == 1008


# --- analyses --------------------------------------------------------------------------------


def test_a_request_goes_through_a_slot(one: Site):
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        answer = one.post("/analysis/start", {**REQUEST, "request_id": "r1"})
        asked = rest_analysis.AnalysisRequested.model_validate(answer.json())
        assert (asked.request_id, asked.instance_id, asked.stream_id) == ("r1", "one", 0)
        assert (asked.status, asked.state, asked.camera_id) == ("started", "queued", 3)
        about, ids = app.accept()
        assert ids == [7, 8]
        app.say("processing_started", **about, file_id=7, current_file="/videos/7.mp4")
        until(lambda: one.get("/requests/r1").json()["state"] == "running")
        whole = one.get("/analysis/status").json()
        assert set(whole) == {"one", "stream_alpha", "stream_beta", "stream_gamma"} & set(whole)
        rest_analysis.InstanceStreams.model_validate(whole["one"])
        camera = one.get("/analysis/status/one", stream_id=0, camera_id=3).json()
        rest_analysis.InstanceStatus.model_validate(camera)
        assert camera["camera"]["files"]["processing"][0]["file_id"] == 7
        assert camera["camera"]["files"]["queued_count"] == 1
        assert [file["file_id"] for file in camera["camera"]["files"]["queued"]] == [8]
        assert one.get("/analysis/status/one", stream_id=1).json()["stream"]["cameras"] == []
        refused(one.get("/analysis/status/one", stream_id=1, camera_id=3), 404)
        refused(one.get("/analysis/status/one", stream_id=9), 404)
        app.say("file_done", **about, file_id=7, processed_file="/r/7", frames=5)
        app.do(about, 8, error="no frames")
        app.say("analysis_complete", **about, status="done", processed_count=2, message="")
        until(lambda: one.get("/requests/r1").json()["state"] == "done")
        found = rest_requests.RequestWithFiles.model_validate(one.get("/requests/r1").json())
        assert [(file.file_id, file.state) for file in found.file_list] == [(7, "done"), (8, "failed")]
        assert (found.files.done, found.files.failed, found.file_list[1].error) == (1, 1, "no frames")


def test_what_waits_is_listed_moved_given_more_and_cancelled(one: Site):
    one.launch(streams=1)
    with one.app(streams=1) as app:
        app.hear("execute_ack")
        for number in range(3):
            answer = one.post("/analysis/start", {**REQUEST, "request_id": f"r{number}", "end": number < 2})
            assert answer.json()["status"] == ("started" if number == 0 else "queued")
        listed = rest_requests.RequestList.model_validate(one.get("/requests").json())
        assert listed.total_count == 3
        assert {each.request_id: each.position for each in listed.requests} == {"r0": None, "r1": 1, "r2": 2}
        moved = rest_analysis.Changed.model_validate(one.post("/requests/r2/reorder", {"position": 1}).json())
        assert moved.position == 1
        refused(one.post("/requests/r1/push", {"files": [{"file_id": 9, "file_path": "/v/9.mp4"}]}), 409)
        more = {"files": [{"file_id": 9, "file_path": "/v/9.mp4"}], "end": True, "request_id": "p"}
        assert one.post("/requests/r2/push", more).json() == one.post("/requests/r2/push", more).json()
        assert one.get("/requests/r2").json()["files"]["total"] == 3
        assert one.post("/requests/r1/cancel", {"reason": "no"}).json()["state"] == "interrupted"
        refused(one.post("/requests/r1/cancel"), 409)
        assert one.get("/requests", state="queued").json()["total_count"] == 2
        app.accept()
        interrupted = one.post("/analysis/one/interrupt", stream_id=0, camera_id=3, reason="enough").json()
        rest_analysis.Interrupted.model_validate(interrupted)
        assert interrupted["status"] == "interrupting"
        order = app.hear("interrupt_analysis")
        app.say("analysis_interrupted", stream_id=0, camera_id=3, request_id=order["request_id"], status="ok")
        until(lambda: one.get("/requests/r0").json()["state"] == "interrupted")
        assert app.accept()[1] == [7, 8, 9]
        refused(one.post("/analysis/one/interrupt", stream_id=0, camera_id=99), 404)
        refused(one.post("/analysis/one/interrupt", stream_id=0), 422)


def test_commands_without_a_body_take_a_request_id_too(one: Site):
    one.launch(streams=1)
    with one.app(streams=1) as app:
        app.hear("execute_ack")
        one.post("/analysis/start", REQUEST)
        about, _ = app.accept()
        query = {"stream_id": 0, "camera_id": 3, "reason": "enough", "request_id": "i", "of_tomorrow": 1}
        first = one.post("/analysis/one/interrupt", **query)
        assert first.json()["request_id"] == "i"
        order = app.hear("interrupt_analysis")
        app.say("analysis_interrupted", **{**about, "request_id": order["request_id"]}, status="ok")
        until(lambda: one.get("/instances/one").json()["status"] == "idle")
        again = one.post("/analysis/one/interrupt", **query)
        assert (again.status_code, again.json()) == (200, first.json())
        refused(one.post("/analysis/one/interrupt", **{**query, "camera_id": 4}), 409)
        refused(one.post("/analysis/one/interrupt", **{**query, "request_id": "a\nb"}), 422)
        ended = [one.post("/instances/one/terminate", request_id="t").json() for _ in range(2)]
        assert ended[0] == ended[1]
        app.hear("terminate_app")
        refused(one.post("/processes/cleanup", request_id="t"), 409)


def test_without_an_instance_nothing_is_started(one: Site):
    assert "no instance" in refused(one.post("/analysis/start", REQUEST), 503)
    refused(one.post("/analysis/start", {**REQUEST, "type": "other"}), 422)
    refused(one.post("/analysis/start", {**REQUEST, "files": [FILES[0], FILES[0]]}), 422)


def test_a_folder_is_its_videos_in_name_order(one: Site, tmp_path: Path):
    folder = tmp_path / "videos"
    folder.mkdir()
    one.launch()
    body = {**REQUEST, "files": None, "path": str(folder)}
    with one.app() as app:
        app.hear("execute_ack")
        assert "has no videos" in refused(one.post("/analysis/start", body), 422)
        refused(one.post("/analysis/start", {**body, "path": str(folder / "none")}), 404)
        for name in ("b.mp4", "a.MKV", "a.mp4", "notes.txt", ".hidden.mp4"):
            (folder / name).write_bytes(b"x")
        (folder / "sub.mp4").mkdir()
        assert one.post("/analysis/start", {**body, "request_id": "f"}).status_code == 200
        files = one.get("/requests/f").json()["file_list"]
        assert [file["file_name"] for file in files] == ["a.MKV", "a.mp4", "b.mp4"]
        notes = {**body, "type": "file", "path": str(folder / "notes.txt")}
        assert "is no video" in refused(one.post("/analysis/start", notes), 422)
        refused(one.post("/analysis/start", {**body, "path": str(folder / "b.mp4")}), 422)


def test_only_allowed_folders_are_looked_at(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for place in ("in", "out"):
        (tmp_path / place / "a.mp4").write_bytes(b"x")
    (tmp_path / "in" / "link.mp4").symlink_to(tmp_path / "out" / "a.mp4")
    settings = {"control": {"media_folders": [str(tmp_path / "in")]}}
    with site(tmp_path, settings=settings) as one:
        one.launch()
        with one.app() as app:
            app.hear("execute_ack")
            body = {**REQUEST, "files": None, "path": str(tmp_path / "in"), "request_id": "f"}
            assert one.post("/analysis/start", body).status_code == 200
            assert [file["file_name"] for file in one.get("/requests/f").json()["file_list"]] == ["a.mp4"]
            for path in (tmp_path / "out", tmp_path / "in" / ".." / "out"):
                told = refused(
                    one.post("/analysis/start", {**body, "request_id": "g", "path": str(path)}), 403
                )
                assert "control.media_folders" in told
            given = [{"file_id": 1, "file_path": str(tmp_path / "in" / "link.mp4")}]
            refused(one.post("/analysis/start", {**body, "request_id": "h", "files": given}), 403)


def test_a_lost_app_gives_its_files_back_to_another(one: Site):
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        one.post("/analysis/start", {**REQUEST, "request_id": "r1"})
        about, _ = app.accept()
        app.do(about, 7)
        until(lambda: one.get("/requests/r1").json()["files"]["done"] == 1)
        app.say("app_terminated", status="ok", message="")
        one.launch("two")
        with one.app("two") as other:
            other.hear("execute_ack")
            one.post("/instances/one/terminate")
            until(lambda: one.get("/processes/proc_one").json()["status"] == "stopped")
            assert other.accept()[1] == [8]


def test_metrics_are_asked_for(tmp_path: Path):
    with site(tmp_path, metrics_sec=0.05) as one:
        one.launch()
        refused(one.post("/metrics/one/refresh"), 503)
        with one.app() as app:
            app.hear("execute_ack")
            app.hear("query_metrics")
            app.say("metrics_response", cpu_percent=7, ram_mb=2)
            assert until(lambda: one.get("/metrics/one").json()["cpu_percent"]) == 7


def test_health(one: Site):
    one.launch()
    body = rest.Health.model_validate(one.get("/health").json())
    assert (body.status, body.total_processes, body.running_processes) == ("healthy", 1, 1)


def test_every_route_has_its_model_and_its_example(one: Site):
    document = one.http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation["responses"]["200"]["content"] if "200" in operation["responses"] else {}
            for body in (operation.get("requestBody", {}).get("content", {}), content):
                for described in body.values():
                    assert described.get("schema"), (method, path)
    for model in ("Launch", "Launched", "StartAnalysis", "AnalysisRequested", "RequestWithFiles"):
        assert schemas[model]["examples"]


def test_no_login_of_a_camera_is_shown(one: Site):
    """Neither to those who may only look; the app gets it."""
    address = "rtsp://zqUser:zqPass/@10.0.0.5/cam?key=zqKey"
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        given = [{"file_id": 1, "file_path": "https://zqUser:zqPass@10.0.0.5/a.mp4?key=zqKey"}]
        bodies = (
            {"camera_id": 3, "type": "videostream", "path": address, "request_id": "live"},
            {"camera_id": 4, "type": "fileset", "path": "/v", "files": given, "request_id": "files"},
        )
        told = [one.post("/analysis/start", {**body, "stream_id": 0}).text for body in bodies]
        assert app.hear("start_analysis")["camera_path"] == address
        paths = ("/requests", "/requests/live", "/requests/files", "/analysis/status", "/analysis/status/one")
        told += [one.get(path).text for path in paths]
        service = cast(Any, one.http.app).state.service
        told.append(json.dumps(service.control.snapshot(), default=str))
        told += [
            change.text.decode()
            for change in service.control.changes.since(service.control.changes.id(0)) or ()
        ]
        assert any("rtsp://10.0.0.5/cam" in text for text in told)
        assert not [text for text in told if "zq" in text]


def test_a_launch_that_is_sent_again_is_not_judged_anew(one: Site, monkeypatch: pytest.MonkeyPatch):
    """Its own first time may have taken the last room."""
    body = {"config_path": "/configs/a.txt", "instance_id": "one", "request_id": "l1"}
    first = one.post("/launch", body).json()
    monkeypatch.setattr(one.launcher, "refused", lambda spec: Refused(503, "there is no room"))
    assert one.post("/launch", body).json() == first
    refused(one.post("/launch", {**body, "request_id": "l2"}), 503)


def test_refreshes_push_no_answer_out(one: Site):
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        service = cast(Any, one.http.app).state.service
        before = len(service.control.export()["answer"])
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(one.post, "/metrics/one/refresh")
            told = app.hear("query_metrics")
            app.say("metrics_response", request_id=told["request_id"], cpu_percent=1, ram_mb=2)
            assert asked.result(10).status_code == 200
        assert len(service.control.export()["answer"]) == before


@pytest.mark.parametrize(
    "body",
    [
        {"path": None, "camera_path": "{folder}", "name": None, "output_dir": None},
        {"path": "", "camera_path": "{folder}", "files": []},
        {"path": "{folder}", "files": None, "instance_id": None, "end": True},
    ],
)
def test_what_says_nothing_is_as_if_it_were_not_there(one: Site, tmp_path: Path, body: dict[str, Any]):
    (tmp_path / "a.mp4").touch()
    said = {key: str(tmp_path) if value == "{folder}" else value for key, value in body.items()}
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        answer = one.post("/analysis/start", {"camera_id": 3, "type": "fileset", **said})
        assert answer.status_code == 200, answer.json()
        assert app.hear("start_analysis")["camera_path"] == str(tmp_path)


def test_files_of_the_same_name_have_results_of_their_own(one: Site):
    paths = ["/x/1.mp4", "/y/1.mp4", "/x/2.mp4", "/x/2.mkv", "/x/3.mp4"]
    files: list[dict[str, Any]] = [{"file_id": at, "file_path": path} for at, path in enumerate(paths)]
    files.append({"file_id": 9, "file_path": "/z/1.mp4", "output_path": "/else/where"})
    one.launch()
    with one.app() as app:
        app.hear("execute_ack")
        one.post("/analysis/start", {**REQUEST, "files": files})
        start = app.hear("start_analysis")
        about = {key: start[key] for key in ("stream_id", "camera_id", "request_id")}
        app.say("analysis_started", **about, status="ok")
        pushed = [file for file in app.hear("push_file")["files"] if file["file_type"] == "file"]
        outputs = [f"/results/{name}" for name in ("1-0", "1-1", "2.mp4", "2.mkv")]
        assert [file.get("output_path", "") for file in pushed] == [*outputs, "", "/else/where"]
        assert pushed[0]["file_name"] == "1.mp4"


def test_health_answers_head_too(one: Site):
    assert one.http.head("/deepstream/health").status_code == 200
