import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from siwatsystem.asyncapi import FROM_WORKER, TO_WORKER, document
from siwatsystem.errors import ERROR_CODES
from siwatsystem.messages import COMMAND_TYPES

DOCUMENT = document("1.2.3")


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


def validator(model: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{model}", **DOCUMENT})


def test_it_names_its_version_and_ours():
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert {channel["address"] for channel in DOCUMENT["channels"].values()} == {"/"}


def test_every_reference_leads_somewhere():
    found = list(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        assert resolve(reference)


def test_every_schema_is_one():
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_both_directions_hold_their_messages():
    assert tuple(model.model_fields["type"].default for model in TO_WORKER) == COMMAND_TYPES
    for operation, models in (("receive", TO_WORKER), ("send", FROM_WORKER)):
        described = DOCUMENT["operations"][operation]
        assert described["action"] == operation
        channel = resolve(described["channel"]["$ref"])
        assert [message["$ref"].rsplit("/", 1)[1] for message in described["messages"]] == list(
            channel["messages"]
        )
        assert [resolve(ref)["name"] for ref in references(channel["messages"])] == [
            model.model_fields["type"].default for model in models
        ]


@pytest.mark.parametrize("model", [*TO_WORKER, *FROM_WORKER], ids=lambda model: model.__name__)
def test_every_message_has_its_type(model: type):
    schema = DOCUMENT["components"]["schemas"][model.__name__]
    assert "type" in schema["required"]
    assert schema["properties"]["type"]["const"]


def test_what_is_inside_only_is_not_told():
    assert "legacy" not in str(DOCUMENT)


def test_the_codes_are_the_closed_list():
    schema = DOCUMENT["components"]["schemas"]["ErrorMessage"]
    assert tuple(schema["properties"]["code"]["enum"]) == ERROR_CODES


def test_the_schemas_tell_right_from_wrong():
    payload = {"displayIdentifier": "d", "sessionId": 5}
    assert validator("SetSessionId").is_valid({"type": "setSessionId", "payload": payload})
    for wrong in ({}, {**payload, "sessionId": True}, {**payload, "displayIdentifier": ""}):
        assert not validator("SetSessionId").is_valid({"type": "setSessionId", "payload": wrong})
    assert not validator("RequestState").is_valid({})
    cut = {"subscriptionIdentifier": "d;c", "modelUrl": "http://m/a.mpta", "modelName": "m", "modelId": 1}
    assert validator("Subscribe").is_valid({"type": "subscribe", "payload": {**cut, "cropX1": 2**31 - 1}})
    assert not validator("Subscribe").is_valid({"type": "subscribe", "payload": {**cut, "cropX1": 2**31}})


def test_no_bound_is_in_words_that_are_not_of_json_schema():
    assert not [words for words in ('"ge"', '"gt"', '"le"', '"lt"') if words in json.dumps(DOCUMENT)]
