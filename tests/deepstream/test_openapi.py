"""The routes' description: every route of the contract with its fields, its statuses and right examples."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from siwatsystem.config import Settings
from siwatsystem.deepstream.application import create_app

APP = create_app(Settings())
DOCUMENT = APP.openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPAQUE = {"/asyncapi.json", "/deepstream/asyncapi.json", "/deepstream/test/sample-data"}
"""What they answer is described elsewhere."""

ROUTES = """
POST /launch 403 404 409 413 422 503 | GET /processes | GET /processes/{process_id} 404
POST /processes/{process_id}/terminate 404 503 | GET /processes/{process_id}/logs 404 422
GET /processes/by-instance/{instance_id} 404 | POST /processes/cleanup 503
GET /instances | GET /instances/{instance_id} 404 | POST /instances/{instance_id}/terminate 404 503
POST /analysis/start 403 404 409 413 422 503 | POST /analysis/{instance_id}/interrupt 404 422 503
GET /analysis/status 422 | GET /analysis/status/{instance_id} 404 422
GET /metrics | GET /metrics/{instance_id} 404 | POST /metrics/{instance_id}/refresh 404 503
GET /test/sample-data 403 | GET /test/scenarios 403 | POST /test/mock-analysis 403 409 503
POST /test/simulate-handshake/{instance_id} 403 404 409
POST /test/simulate-metrics/{instance_id} 403 404 409
POST /test/simulate-file-processing/{instance_id} 403 404 409 413 422
POST /test/reset-instance/{instance_id} 403 404
"""
ANSWERS = {
    ("POST", "/launch"): "success message process_id instance_id host_pid log_path",
    ("GET", "/processes"): "total_count running_count stopped_count error_count processes",
    ("GET", "/processes/{process_id}"): "process_id instance_id config_path docker_container host_pid "
    "container_pid status launched_at log_path command error_message",
    ("GET", "/processes/{process_id}/logs"): "success message log_content lines_requested process_id",
    (
        "GET",
        "/instances/{instance_id}",
    ): "instance_id config_path streams_count gpu_allocated status ws_status launched_at log_path",
    ("POST", "/analysis/start"): "request_id instance_id stream_id camera_id status message",
    ("POST", "/analysis/{instance_id}/interrupt"): "status instance_id stream_id camera_id reason",
    ("GET", "/analysis/status/{instance_id}"): "instance_id timestamp streams stream stream_id camera",
    ("GET", "/metrics/{instance_id}"): "instance_id cpu_percent ram_mb gpu_percent vram_mb timestamp gpus",
    ("GET", "/health"): "status connected_instances total_instances total_processes running_processes",
}
ASKED = {
    "/launch": "config_path streams_count gpu_allocated instance_id docker_container additional_args",
    "/analysis/start": "camera_id type path name output_dir files",
    "/test/simulate-file-processing/{instance_id}": "camera_id file_id action",
}
WORDS = {
    ("Process", "status"): {"running", "stopped", "error"},
    ("Instance", "status"): {"idle", "running", "error", "disconnected"},
    ("Instance", "ws_status"): {"connected", "disconnected", "reconnecting"},
    ("AnalysisRequested", "status"): {"started", "queued"},
    ("StartAnalysis", "type"): {"videostream", "fileset", "file"},
    ("SimulateFileProcessing", "action"): {"start", "complete", "error"},
    ("StreamStatus", "status"): {"running", "idle", "error"},
    ("CameraStatus", "status"): {"running", "queued"},
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def bodies() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Method, path, status (`asked` for what is sent) and description of every JSON body."""
    for method, path, operation in operations():
        told = {"asked": operation.get("requestBody", {}), **operation["responses"]}
        for status, body in told.items():
            if "application/json" in body.get("content", {}):
                yield method, path, status, body["content"]["application/json"]


def schema_of(media: dict[str, Any]) -> dict[str, Any]:
    return SCHEMAS[media["schema"]["$ref"].rpartition("/")[2]]


def models() -> dict[tuple[str, str, str], Any]:
    """The model that the code has for a body."""
    found: dict[tuple[str, str, str], Any] = {}

    def walk(routes: Any, prefix: str) -> None:
        route: Any
        for route in routes:
            included = getattr(route, "original_router", None)
            if included is not None:
                walk(included.routes, prefix + route.include_context.prefix)
            elif isinstance(route, APIRoute):
                for method in route.methods or ():
                    key = (method, prefix + route.path)
                    found[(*key, "200")] = route.response_model
                    for status, response in route.responses.items():
                        found[(*key, str(status))] = response.get("model")
                    if route.body_field is not None:
                        found[(*key, "asked")] = route.body_field.field_info.annotation

    walk(APP.routes, "")
    return found


@pytest.mark.parametrize(
    "line", [one.strip() for line in ROUTES.splitlines() for one in line.split("|") if one]
)
def test_every_route_of_the_contract_is_there_with_its_statuses(line: str):
    method, path, *statuses = line.split()
    answers = DOCUMENT["paths"][f"/deepstream{path}"][method.lower()]["responses"]
    assert {"200", "401", "403", "429", *statuses} <= set(answers)
    for status, answer in answers.items():
        if int(status) >= 400:
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Refusal"), status


def test_health_says_that_it_ends():
    answers = DOCUMENT["paths"]["/deepstream/health"]["get"]["responses"]
    assert set(answers) == {"200", "503"}
    assert set(SCHEMAS["Health"]["properties"]["status"]["enum"]) == {"healthy", "degraded", "shutting_down"}


@pytest.mark.parametrize(("route", "fields"), ANSWERS.items(), ids=lambda value: str(value)[:60])
def test_what_is_answered_has_the_fields_of_the_contract(route: tuple[str, str], fields: str):
    method, path = route
    answer = DOCUMENT["paths"][f"/deepstream{path}"][method.lower()]["responses"]["200"]
    assert set(fields.split()) <= set(schema_of(answer["content"]["application/json"])["properties"])


@pytest.mark.parametrize(("path", "fields"), ASKED.items())
def test_what_is_asked_has_the_fields_of_the_contract(path: str, fields: str):
    body = DOCUMENT["paths"][f"/deepstream{path}"]["post"]["requestBody"]["content"]["application/json"]
    assert set(fields.split()) <= set(schema_of(body)["properties"])


@pytest.mark.parametrize(("place", "words"), WORDS.items(), ids=[".".join(place) for place in WORDS])
def test_words_are_those_of_the_contract(place: tuple[str, str], words: set[str]):
    model, field = place
    assert set(SCHEMAS[model]["properties"][field]["enum"]) == words


def test_both_spellings_of_a_camera_are_described():
    validator = Draft202012Validator({"$ref": "#/components/schemas/StartAnalysis", **DOCUMENT})
    assert validator.is_valid({"camera_id": 1, "type": "file", "camera_path": "/v", "camera_name": "Gate"})
    assert validator.is_valid({"camera_id": 1, "camera_type": "file", "path": "/v", "of_tomorrow": {}})
    for wrong in ({"type": "file"}, {"path": "/v"}, {"type": "file", "camera_path": 5}):
        assert not validator.is_valid({"camera_id": 1, **wrong})


def test_interrupt_takes_its_query_and_logs_their_lines():
    interrupt = DOCUMENT["paths"]["/deepstream/analysis/{instance_id}/interrupt"]["post"]["parameters"]
    query = {each["name"] for each in interrupt if each["in"] == "query"}
    assert query == {"stream_id", "camera_id", "reason", "request_id"}
    logs = DOCUMENT["paths"]["/deepstream/processes/{process_id}/logs"]["get"]["parameters"]
    (lines,) = [each["schema"] for each in logs if each["name"] == "lines"]
    assert (lines["minimum"], lines["maximum"], lines["default"]) == (1, 1000, 100)


def test_every_body_has_examples_which_its_schema_and_its_model_take():
    known, seen = models(), 0
    for method, path, status, media in bodies():
        if path in OPAQUE and status == "200":
            continue
        assert media.get("examples"), (method, path, status)
        validator = Draft202012Validator({**media["schema"], "components": DOCUMENT["components"]})
        model = known.get((method, path, status))
        for example in media["examples"].values():
            validator.validate(example["value"])
            if model is not None:
                TypeAdapter(model).validate_json(json.dumps(example["value"]))
                seen += 1
    assert seen > 100


def test_what_is_said_of_this_machine_only_is_not_there():
    text = json.dumps(DOCUMENT)
    assert "HTTPValidationError" not in text
    assert "siwatsystem__" not in text
    assert not [words for words in ('"ge":', '"gt":', '"le":', '"lt":') if words in text]
