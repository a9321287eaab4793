"""The test routes: on where they may be, played through the same state core as real apps."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from siwatsystem.deepstream import rest, rest_analysis
from siwatsystem.deepstream.messages import app_message
from siwatsystem.deepstream.samples import Samples
from siwatsystem.errors import InvalidSetting
from tests.deepstream.site import Site, site
from tests.deepstream.test_routes import refused, until

ROOT = Path(__file__).parent.parent.parent
DATA: dict[str, Any] = json.loads((ROOT / "sample_data.json").read_text())


def play(one: Site, step: str) -> Any:
    """`POST /deepstream/test/… {body}`."""
    _, path, *body = step.split(" ", 2)
    return one.http.post(path, json=json.loads(body[0]) if body else None)


@pytest.mark.parametrize("scenario", DATA["test_scenarios"], ids=lambda scenario: scenario["name"])
def test_every_scenario_comes_out_as_it_says(tmp_path: Path, scenario: dict[str, Any]):
    with site(tmp_path) as one:
        for step in scenario["steps"]:
            answer = play(one, step)
            assert answer.status_code == 200, (step, answer.json())
            if "mock-analysis" in step:
                asked = rest_analysis.AnalysisRequested.model_validate(answer.json())
                assert asked.instance_id == scenario["instance_id"]
                until(lambda: one.get("/requests").json()["requests"][0]["files"]["queued"] == 2)
        expected = scenario["expected"]
        until(lambda: one.get("/requests").json()["requests"][0]["state"] == expected["state"])
        (request,) = one.get("/requests").json()["requests"]
        assert (request["files"]["done"], request["files"]["failed"]) == (
            expected["done"],
            expected["failed"],
        )


def test_every_error_scenario_has_its_status(tmp_path: Path):
    with site(tmp_path) as one:
        for scenario in DATA["error_scenarios"]:
            method, path = scenario["request"].split()
            refused(one.http.request(method, path), scenario["status"])


def test_instances_are_registered_and_reset(tmp_path: Path):
    with site(tmp_path) as one:
        assert one.get("/test/sample-data").json() == DATA
        assert one.get("/test/scenarios").json()["scenarios"] == DATA["test_scenarios"]
        assert {each["instance_id"] for each in one.get("/instances").json()} == {
            each["instance_id"] for each in DATA["deepstream_instances"]
        }
        refused(one.post("/test/simulate-handshake/nobody"), 404)
        rest.Simulated.model_validate(one.post("/test/simulate-handshake/stream_alpha").json())
        refused(one.post("/test/simulate-handshake/stream_alpha"), 409)
        assert one.get("/instances/stream_alpha").json()["ws_status"] == "connected"
        one.post("/test/simulate-metrics/stream_alpha")
        assert one.get("/metrics/stream_alpha").json()["cpu_percent"] == 35.5
        assert one.post("/metrics/stream_alpha/refresh").json()["vram_mb"] == 2048
        one.post("/test/mock-analysis")
        until(lambda: one.get("/instances/stream_alpha").json()["status"] == "running")
        unknown = {"camera_id": 1, "file_id": 999, "action": "start"}
        refused(one.post("/test/simulate-file-processing/stream_alpha", unknown), 404)
        refused(one.post("/test/simulate-file-processing/stream_alpha", {**unknown, "action": "x"}), 422)
        assert one.post("/test/reset-instance/stream_alpha").json()["success"]
        until(lambda: one.get("/instances/stream_alpha").json()["ws_status"] == "disconnected")
        assert one.get("/requests").json()["requests"][0]["state"] == "interrupted"
        assert one.post("/test/simulate-handshake/stream_alpha").status_code == 200


def test_a_real_app_is_not_played_with(tmp_path: Path):
    with site(tmp_path) as one:
        one.launch()
        refused(one.post("/test/simulate-handshake/one"), 409)
        with one.app() as app:
            app.hear("execute_ack")
            refused(one.post("/test/reset-instance/one"), 409)
            refused(one.post("/test/simulate-metrics/one"), 409)


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        ({}, True),
        ({"control": {"host": "0.0.0.0"}}, False),
        ({"control_token": "a-token-of-some-length-0123456789"}, False),
        ({"control_token": "a-token-of-some-length-0123456789", "control": {"test_routes": True}}, True),
        ({"control": {"test_routes": False}}, False),
    ],
)
def test_they_are_on_where_they_may_be(tmp_path: Path, settings: dict[str, Any], on: bool):
    with site(tmp_path, settings=settings) as one:
        headers = {"Authorization": "Bearer a-token-of-some-length-0123456789"}
        answer = one.http.get("/deepstream/test/sample-data", headers=headers)
        assert answer.status_code == (200 if on else 403)
        assert on or "control.test_routes" in answer.json()["detail"]
        assert bool(one.http.get("/deepstream/instances", headers=headers).json()) is on


def test_who_may(tmp_path: Path):
    tokens = {"control_token": "command" * 4, "view_token": "look" * 5}
    with site(tmp_path, settings=tokens) as one:
        viewer, controller = (
            {"Authorization": f"Bearer {tokens[role]}"} for role in ("view_token", "control_token")
        )
        http = one.http
        assert http.get("/deepstream/health").status_code == 200
        refused = http.get("/deepstream/instances")
        assert refused.status_code == 401
        assert refused.json() == {
            "success": False,
            "message": "a token is needed",
            "detail": "a token is needed",
        }
        assert http.get("/deepstream/instances", headers=viewer).status_code == 200
        assert http.post("/deepstream/processes/cleanup", headers=viewer).status_code == 403
        assert http.post("/deepstream/processes/cleanup", headers=controller).status_code == 200
        for headers in ({}, viewer):
            with pytest.raises(WebSocketDisconnect) as closed:
                http.websocket_connect("/deepstream/ws", headers=headers).__enter__()
            assert closed.value.code == 1008


def test_the_sample_data_are_what_the_contract_says():
    names = "deepstream_instances analysis_requests stream_status_samples metrics_samples test_scenarios \
error_scenarios launch_examples process_examples docker_settings"
    assert set(DATA) == set(names.split())
    assert [name for name, _ in Samples(DATA).instances] == ["stream_alpha", "stream_beta", "stream_gamma"]
    for example in DATA["launch_examples"].values():
        rest.Launch.model_validate(example)
    assert set(DATA["launch_examples"]) == {"basic", "advanced", "custom"}
    assert {
        name: rest.Process.model_validate(example).status
        for name, example in DATA["process_examples"].items()
    } == {"running": "running", "stopped": "stopped", "failed": "error"}
    for sample in DATA["metrics_samples"]:
        app_message(json.dumps(sample))
    app_message(json.dumps({"type": "analysis_status", "streams": DATA["stream_status_samples"]}))


@pytest.mark.parametrize(
    "data",
    [{"deepstream_instances": [{"instance_id": "a b", "config_path": "/x"}]}, {"analysis_requests": [{}]}],
)
def test_sample_data_that_are_wrong_are_refused(data: dict[str, Any]):
    with pytest.raises(InvalidSetting, match="sample data"):
        Samples(data)
