"""The description of the apps' WebSocket: every message of both directions, field by field, with examples."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from siwatsystem.deepstream.asyncapi import document
from siwatsystem.deepstream.fields import Said
from siwatsystem.deepstream.messages import (
    TO_APP,
    TO_SERVER,
    AppMessage,
    ServerMessage,
    app_message,
    encode,
    server_message,
)
from tests.deepstream.site import site

DOCUMENT = document("1.2.3")

# The contract's tables: what each message must be described with. Extensions may be there beside it.
FROM_APP = {
    "app_ready": "instance_id config_path process_id streams_count status version start_time gpu_allocated "
    "reconnection last_close_code",
    "analysis_started": "stream_id camera_id status message error_reason",
    "push_ack": "stream_id camera_id status error_reason",
    "processing_started": "stream_id camera_id file_id current_file",
    "file_done": "stream_id camera_id file_id processed_file frames detections error",
    "analysis_complete": "stream_id camera_id status processed_count message",
    "analysis_interrupted": "stream_id camera_id status message error_reason",
    "app_terminated": "status message",
    "metrics_response": "cpu_percent ram_mb gpu_percent vram_mb timestamp",
    "analysis_status": "timestamp streams stream stream_id camera",
}
FROM_SERVER = {
    "execute_ack": "instance_id status config_verified streams_count_verified expected_config "
    "received_config error_code error_message timestamp",
    "reconnection_ack": "instance_id status timestamp session_restored server_status",
    "start_analysis": "stream_id camera_id camera_type path name camera_path camera_name output_dir "
    "init_file",
    "push_file": "stream_id camera_id files_count files",
    "interrupt_analysis": "stream_id camera_id reason",
    "terminate_app": "",
    "query_metrics": "",
    "query_analysis_status": "stream_id camera_id",
}
PARTS = {
    "StreamStatus": "stream_id status cameras",
    "CameraStatus": "camera_id status files",
    "CameraFiles": "processing completed_count queued_count queued",
    "FileProcessing": "file_id file_name progress_pct",
    "FileQueued": "file_id file_name",
    "PushedFile": "file_type file_id file_path file_name output_path",
    "EndMark": "file_type",
}


Models = tuple[type[Said], ...]


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def described(operation: str) -> dict[str, Any]:
    """The messages of a direction by their type."""
    messages = [resolve(message["$ref"]) for message in DOCUMENT["operations"][operation]["messages"]]
    while "$ref" in messages[0]:
        messages = [resolve(message["$ref"]) for message in messages]
    return {message["name"]: message for message in messages}


def validator(message: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**message["payload"], **DOCUMENT})


def test_it_names_its_version_and_the_socket():
    assert (DOCUMENT["asyncapi"], DOCUMENT["info"]["version"]) == ("3.0.0", "1.2.3")
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == {"/deepstream/ws"}


def test_every_reference_leads_somewhere_and_every_schema_is_one():
    found = list(references(DOCUMENT))
    assert len(found) > 20
    assert all(resolve(reference) for reference in found)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("operation", "table"), [("receive", FROM_APP), ("send", FROM_SERVER)])
def test_every_message_of_the_contract_is_there_with_its_fields(operation: str, table: dict[str, str]):
    messages = described(operation)
    assert set(messages) == set(table)
    for name, fields in table.items():
        schema = resolve(messages[name]["payload"]["$ref"])
        assert schema["properties"]["type"]["const"] == name
        assert "type" in schema["required"]
        assert {"request_id", *fields.split()} <= set(schema["properties"]), name


@pytest.mark.parametrize("model", PARTS)
def test_the_parts_have_their_fields(model: str):
    assert set(PARTS[model].split()) <= set(DOCUMENT["components"]["schemas"][model]["properties"])


@pytest.mark.parametrize(
    ("operation", "read", "models"),
    [("receive", app_message, TO_SERVER), ("send", server_message, TO_APP)],
    ids=["receive", "send"],
)
def test_every_example_is_read_and_what_is_written_fits_its_schema(
    operation: str, read: Callable[[str], AppMessage | ServerMessage], models: Models
):
    by_type = {model.model_fields["type"].default: model for model in models}
    for name, message in described(operation).items():
        assert message["examples"], name
        for example in message["examples"]:
            validator(message).validate(example["payload"])
            said = read(json.dumps(example["payload"]))
            assert type(said) is by_type[name]
            validator(message).validate(json.loads(encode(said)))


def test_the_schemas_tell_right_from_wrong():
    done = described("receive")["file_done"]
    right = {"type": "file_done", "stream_id": 0, "camera_id": 3, "file_id": 7, "from_a_later_version": 1}
    assert validator(done).is_valid(right)
    for wrong in ({"stream_id": -1}, {"file_id": "7"}, {"type": "push_ack"}, {"camera_id": None}):
        assert not validator(done).is_valid({**right, **wrong}), wrong


def test_no_bound_is_in_words_that_are_not_of_json_schema():
    assert not [words for words in ('"ge"', '"gt"', '"le"', '"lt"') if words in json.dumps(DOCUMENT)]


def test_it_is_served_where_the_workers_is_and_below_its_own_routes(tmp_path: Path):
    with site(tmp_path) as one:
        for path in ("/asyncapi.json", "/deepstream/asyncapi.json"):
            answer = one.http.get(path)
            assert answer.status_code == 200
            assert answer.json()["channels"].keys() == {"toServer", "toApp"}
