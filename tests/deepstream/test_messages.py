import json
from typing import Any

import pytest
from pydantic import BaseModel

from siwatsystem.deepstream import rest, rest_analysis, to_app, to_server
from siwatsystem.deepstream.fields import Said, Wire, plain
from siwatsystem.deepstream.messages import (
    MAX_BYTES,
    TO_APP,
    TO_SERVER,
    app_message,
    encode,
    server_message,
)
from siwatsystem.deepstream.to_app import EndMark, PushedFile, PushFile, StartAnalysis
from siwatsystem.deepstream.to_server import AnalysisStatus, FileDone, MetricsResponse
from siwatsystem.errors import InvalidJson, InvalidMessage, TooDeep, UnknownType

CAMERA = {"stream_id": 0, "camera_id": 3}


def models(module: Any) -> list[type[Wire]]:
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Wire)]
    return [model for model in found if model.__module__ == module.__name__]


BODIES = [model for module in (rest, rest_analysis) for model in models(module) if model.EXAMPLE]
PARTS = [model for module in (to_app, to_server) for model in models(module) if not issubclass(model, Said)]


@pytest.mark.parametrize("model", TO_SERVER, ids=lambda model: model.__name__)
def test_an_app_message_is_read_and_written_as_it_is(model: type[Said]):
    read = app_message(json.dumps(model.EXAMPLE))
    assert type(read) is model
    assert json.loads(encode(read)) == {**_defaults(model), **model.EXAMPLE}


@pytest.mark.parametrize("model", TO_APP, ids=lambda model: model.__name__)
def test_a_server_message_is_read_and_written_as_it_is(model: type[Said]):
    read = server_message(json.dumps(model.EXAMPLE))
    assert type(read) is model
    assert json.loads(encode(read)) == {**_defaults(model), **model.EXAMPLE}


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields.items()
    return {
        name: field.default for name, field in fields if not field.is_required() and field.default is not None
    }


@pytest.mark.parametrize("model", [*BODIES, *PARTS], ids=lambda model: model.__name__)
def test_the_example_of_a_body_is_one(model: type[Wire]):
    read = plain(model.model_validate(model.EXAMPLE))
    assert {key: read[key] for key in model.EXAMPLE} == model.EXAMPLE
    assert model.model_json_schema()["examples"] == [model.EXAMPLE, *model.MORE]
    for example in model.MORE:
        model.model_validate(example)


def test_every_message_has_an_example_and_a_sentence():
    for model in (*TO_SERVER, *TO_APP):
        assert model.EXAMPLE["type"] == model.model_fields["type"].default
        assert model.__doc__
        assert "type" in model.model_json_schema()["required"]


@pytest.mark.parametrize(
    "spelled",
    [
        {"path": "/v", "name": "Gate"},
        {"camera_path": "/v", "camera_name": "Gate"},
        {"path": "/v", "name": "Gate", "camera_path": "/other", "camera_name": "Other"},
    ],
)
def test_both_spellings_are_read_and_both_are_written(spelled: dict[str, str]):
    text = json.dumps({"type": "start_analysis", **CAMERA, "camera_type": "file", **spelled})
    read = server_message(text)
    assert isinstance(read, StartAnalysis)
    assert (read.path, read.name) == ("/v", "Gate")
    written = json.loads(encode(read))
    assert {key: written[key] for key in ("path", "name", "camera_path", "camera_name")} == {
        "path": "/v",
        "name": "Gate",
        "camera_path": "/v",
        "camera_name": "Gate",
    }


def test_a_push_is_written_as_the_contract_says():
    file = PushedFile(file_id=7, file_path="/v/b.mp4", file_name="b.mp4", output_path="/r")
    push = PushFile(stream_id=0, camera_id=3, files_count=1, files=[file, EndMark()])
    assert json.loads(encode(push)) == {
        "type": "push_file",
        "stream_id": 0,
        "camera_id": 3,
        "files_count": 1,
        "files": [
            {
                "file_type": "file",
                "file_id": 7,
                "file_path": "/v/b.mp4",
                "file_name": "b.mp4",
                "output_path": "/r",
            },
            {"file_type": "eos"},
        ],
    }


def test_what_was_given_as_null_stays_null_and_what_was_not_given_is_not_there():
    text = '{"type": "metrics_response", "cpu_percent": 1, "ram_mb": 2, "gpu_percent": null, "vram_mb": null}'
    read = app_message(text)
    assert isinstance(read, MetricsResponse)
    assert json.loads(encode(read)) == {**json.loads(text), "type": "metrics_response"}


@pytest.mark.parametrize("request_id", ["r1", 17, None])
def test_a_request_id_is_repeated_as_it_was(request_id: object):
    text = json.dumps({"type": "query_metrics", "request_id": request_id})
    assert json.loads(encode(server_message(text)))["request_id"] == request_id


def test_unknown_keys_are_ignored():
    read = app_message(json.dumps({"type": "file_done", **CAMERA, "file_id": 1, "mood": {"deep": [1]}}))
    assert read == FileDone(stream_id=0, camera_id=3, file_id=1)


@pytest.mark.parametrize("form", ["streams", "stream", "camera"])
def test_a_status_has_three_forms(form: str):
    camera = {"camera_id": 3, "status": "running", "files": {"completed_count": 6}}
    stream = {"stream_id": 1, "status": "running", "cameras": [camera]}
    body: dict[str, Any] = {
        "streams": {"streams": [stream]},
        "stream": {"stream": stream},
        "camera": {"stream_id": 1, "camera": camera},
    }[form]
    read = app_message(json.dumps({"type": "analysis_status", "timestamp": "t", **body}))
    assert isinstance(read, AnalysisStatus)
    (slot,) = read.slots()
    assert (slot.stream_id, slot.cameras[0].camera_id, slot.cameras[0].files.completed_count) == (1, 3, 6)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("{", InvalidJson, "not JSON"),
        ("[]", InvalidMessage, "a message must be a JSON object"),
        ("{}", InvalidMessage, "type: missing"),
        ('{"type": "dance"}', UnknownType, 'type: "dance" is not one of app_ready, '),
        ('{"type": ["file_done"]}', UnknownType, "type: a list is not one of"),
        ('{"type": "start_analysis"}', UnknownType, "is not one of"),
        ('{"type": "file_done", "stream_id": 0, "camera_id": 3}', InvalidMessage, "file_id: Field required"),
        (
            '{"type": "file_done", "stream_id": -1, "camera_id": 3, "file_id": 1}',
            InvalidMessage,
            "stream_id: should be greater than or equal to 0 (not -1)",
        ),
        (
            '{"type": "file_done", "stream_id": 0, "camera_id": "3", "file_id": 1}',
            InvalidMessage,
            'camera_id: should be a valid integer (not "3")',
        ),
        (
            '{"type": "file_done", "stream_id": 0, "camera_id": true, "file_id": 1}',
            InvalidMessage,
            "camera_id: should be a valid integer (not true)",
        ),
        (
            '{"type": "analysis_started", "stream_id": 0, "camera_id": 1, "status": "maybe"}',
            InvalidMessage,
            "status: should be 'ok', 'error' or 'queued'",
        ),
        ("[" * 40 + "]" * 40, TooDeep, "nested deeper than 32"),
        ('{"type": "' + "x" * MAX_BYTES + '"}', InvalidMessage, "a message may have 8192 KiB at most"),
    ],
)
def test_what_is_wrong_is_said(text: str, error: type[Exception], said: str):
    with pytest.raises(error) as raised:
        app_message(text)
    assert said in str(raised.value)


def test_an_app_with_ten_thousand_files_can_tell_its_status():
    queued = [{"file_id": number, "file_name": f"{number}.mp4"} for number in range(10_000)]
    camera = {"camera_id": 1, "status": "running", "files": {"queued_count": 10_000, "queued": queued}}
    stream = {"stream_id": 0, "status": "running", "cameras": [camera]}
    read = app_message(json.dumps({"type": "analysis_status", "streams": [stream]}))
    assert isinstance(read, AnalysisStatus)
    assert len(read.slots()[0].cameras[0].files.queued) == 10_000


FILE = rest_analysis.GivenFile.EXAMPLE


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (rest.Launch, {}, "config_path"),
        (rest.Launch, {"config_path": "/c", "instance_id": "../x"}, "instance_id"),
        (rest.Launch, {"config_path": "/c", "docker_container": "-rm"}, "docker_container"),
        (rest.Launch, {"config_path": "/c", "gpu_allocated": [0, 0]}, "names a GPU twice"),
        (rest.Launch, {"config_path": "/c", "streams_count": 0}, "streams_count"),
        (rest.Launch, {"config_path": "/c", "additional_args": ["a\nb"]}, "additional_args"),
        (rest_analysis.StartAnalysis, {"camera_id": 1, "type": "film", "path": "/v"}, "type"),
        (rest_analysis.StartAnalysis, {"camera_id": 1, "type": "file"}, "path"),
        (
            rest_analysis.StartAnalysis,
            {"camera_id": 1, "type": "file", "path": "/v", "files": [FILE, FILE]},
            "file_id 7 is there twice",
        ),
        (
            rest_analysis.StartAnalysis,
            {"camera_id": 1, "type": "videostream", "path": "rtsp://a", "files": [FILE]},
            "a videostream has no files",
        ),
        (rest_analysis.Reorder, {"position": 0}, "position"),
    ],
)
def test_a_wrong_body_is_refused(model: type[Wire], body: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        model.model_validate(body)
