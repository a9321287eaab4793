"""Keys that nothing reads, told of the JSON as of the spec that is made of it."""

from typing import Any

import pytest

from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.unknown_keys import unknown_keys
from siwatsystem.pipeline.warnings import warnings_of

ACTIONS = [
    {"type": "redis_save_image", "key": "k", "x1": 1},
    {"type": "redis_publish", "channel": "c", "message": "m", "x2": {"key": 1}},
    {"type": "mqtt_publish", "topic": "t", "message": "m", "x3": 1},
    {"type": "kafka_publish", "topic": "t", "message": "m", "x4": 1},
    {"type": "webhook", "url": "http://127.0.0.1/", "message": "m", "signed": False, "x5": 1},
]
RECORD = {
    "type": "postgresql_update_combined",
    "table": "t",
    "key_field": "id",
    "fields": {"any": "{class}"},
    "x6": 1,
}
NODE = {
    "modelId": "b",
    "modelFile": "b.pt",
    "minConfidence": 0.5,
    "triggerClasses": ["Car"],
    "// a remark": 1,
    "min_confidence": 1,
    "voting": {"x7": 1},
}
TRACKING = {"enabled": True, "method": "botsort", "config": {"x8": 1}, "x9": [{"key": 1}]}
SERVERS = {
    "redis": {"host": "h", "port": 1, "x10": 1},
    "postgresql": {"host": "h", "port": 1, "database": "d", "username": "u", "x11": 1},
    "mqtt": {"host": "h", "port": 1, "x12": 1},
    "kafka": {"bootstrap_servers": "h:1", "x13": 1},
}


def whole() -> dict[str, Any]:
    root = {**NODE, "modelId": "a", "tracking": TRACKING, "actions": ACTIONS, "parallelActions": [RECORD]}
    return {**SERVERS, "$schema": "s", "x14": 1, "pipeline": {**root, "branches": [NODE]}}


def told(data: Any) -> set[str]:
    return {text.removesuffix(": unknown key") for text in warnings_of(parse(data)) if "unknown key" in text}


def test_both_ways_find_the_same() -> None:
    found = list(unknown_keys(whole()))
    assert len(found) == len(set(found)) == 17
    assert set(found) == told(whole())


@pytest.mark.parametrize("embedded", ["redis", "postgresql"])
def test_a_server_of_the_workers_own_has_no_keys(embedded: str) -> None:
    data = whole() | {embedded: "embedded"}
    assert set(unknown_keys(data)) == told(data)


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {}, {"pipeline": []}, {"pipeline": {"actions": {"a": 1}}}]
)
def test_what_is_no_pipeline_has_none(value: Any) -> None:
    assert list(unknown_keys(value)) == []


def test_what_is_deeper_than_any_pipeline_is_left_alone() -> None:
    data: dict[str, Any] = {"x": 1}
    for _ in range(400):
        data = {"branches": [data], "x": 1}
    assert 10 < len(list(unknown_keys({"pipeline": data}))) < 100
