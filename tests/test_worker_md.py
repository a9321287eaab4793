"""The backend's document against the code: every example, field, code, limit and setting in it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from siwatsystem.asyncapi import FROM_WORKER, TO_WORKER, document
from siwatsystem.config import Settings, WebSocketSettings
from siwatsystem.displays import MAX_SESSION_BYTES
from siwatsystem.errors import ERROR_CODES
from siwatsystem.json_text import MAX_BRACKETS
from siwatsystem.messages import (
    CURRENT_CAR_KEYS,
    CameraConnection,
    DetectionData,
    Message,
    PatchResultPayload,
    PatchSessionOut,
    decode,
    encode,
)
from siwatsystem.patches import ANSWER_SEC, MAX_UNDER_WAY
from siwatsystem.routes.health import Health
from siwatsystem.subscriptions import MAX_SUBSCRIPTIONS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "worker.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^([^\n]+)\n\n```json\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)
TO, FROM = "backend → worker", "worker → backend"
SCHEMAS = document("1")


def examples(label: str) -> list[Any]:
    return [json.loads(text) for before, text in EXAMPLES if before == label]


def section(title: str, level: str = "##") -> str:
    """What stands below a heading, up to the next of its level or above."""
    found = re.findall(
        rf"^{level} {title}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
    assert len(found) == 1, title
    return found[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table, without the heads."""
    bodies = re.sub(r"^\|.*\|\n\|[-|]+\|$", "", text, flags=re.MULTILINE)
    lines = re.findall(r"^\|(.*)\|$", bodies, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def first_names(text: str) -> set[str]:
    return {name for row in rows(text) for name in re.findall(r"`(\w+)`", row[0])}


def aliases(model: type[Message]) -> set[str]:
    return set(model.model_json_schema(by_alias=True)["properties"]) - {"type"}


def message_schema(model: type[Message]) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{model.__name__}", **SCHEMAS})


def test_every_block_of_json_is_an_example_of_something():
    labels = [before for before, _ in EXAMPLES]
    assert len(labels) == TEXT.count("```json")
    assert {label for label in labels if not label.startswith("GET ")} == {TO, FROM}


@pytest.mark.parametrize("message", examples(TO), ids=lambda message: message["type"])
def test_the_worker_takes_what_the_document_sends(message: dict[str, Any]):
    command = decode(json.dumps(message))
    model = type(command)
    told = message if "cameraIdentifier" not in message.get("payload", {}) else None
    if told:
        message_schema(model).validate(told)
        known = aliases(model)
        assert set(told) - {"type"} <= known
        if "payload" in told:
            payload = model.model_fields["payload"].annotation
            assert payload is not None
            assert set(told["payload"]) <= aliases(payload)


@pytest.mark.parametrize("message", examples(FROM), ids=lambda message: message["type"])
def test_the_worker_sends_what_the_document_shows(message: dict[str, Any]):
    (model,) = [model for model in FROM_WORKER if model.model_fields["type"].default == message["type"]]
    message_schema(model).validate(message)
    assert json.loads(encode(model.model_validate(message))) == message  # type: ignore[arg-type]


def test_every_message_has_an_example_and_a_section():
    for label, title, models in ((TO, "To the worker", TO_WORKER), (FROM, "From the worker", FROM_WORKER)):
        types = {model.model_fields["type"].default for model in models}
        assert {message["type"] for message in examples(label)} == types
        assert set(re.findall(r"^### (\w+)$", section(title), re.MULTILINE)) == types


@pytest.mark.parametrize("model", [*TO_WORKER, *FROM_WORKER], ids=lambda model: model.__name__)
def test_the_tables_have_every_field_and_no_other(model: type[Message]):
    title = "From the worker" if model in FROM_WORKER and model not in TO_WORKER else "To the worker"
    text = re.search(
        rf"^### {model.model_fields['type'].default}\n(.*?)(?=^### |\Z)",
        section(title),
        re.MULTILINE | re.DOTALL,
    )
    assert text is not None
    payload = model.model_fields.get("payload")
    if payload is None:
        wanted = aliases(model)
    else:
        assert payload.annotation is not None
        wanted = aliases(payload.annotation)
    name = model.__name__
    wanted |= aliases(CameraConnection) if name == "StateReport" else set[str]()
    wanted |= aliases(DetectionData) if name == "ImageDetection" else set[str]()
    wanted |= set(ERROR_CODES) if name == "ErrorMessage" else set[str]()
    assert first_names(text[1]) == wanted


def test_the_worker_s_answer_has_its_table_too():
    text = section("From the worker").split("### patchSessionResult", 1)[1].split("###")[0]
    assert first_names(text) == aliases(PatchResultPayload)


def test_the_codes_are_the_closed_list_in_its_order():
    table = section("From the worker").split("| code | when |", 1)[1]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == ERROR_CODES


def test_the_largest_patch_is_shown():
    cars = [
        set(message["data"]["currentCar"]) for message in examples(FROM) if message["type"] == "patchSession"
    ]
    assert CURRENT_CAR_KEYS in cars
    assert aliases(PatchSessionOut) == {"sessionId", "data"}


def test_the_limits_are_the_defaults():
    assert f"{MAX_BRACKETS:,} arrays" in TEXT
    assert f"{MAX_SUBSCRIPTIONS:,} subscriptions" in TEXT
    assert f"{MAX_SESSION_BYTES // 1024} KiB; it then" in re.sub(r"\s+", " ", TEXT)
    assert f"up to {ANSWER_SEC:.0f} seconds, and at most {MAX_UNDER_WAY} patches" in TEXT
    limits = rows(section("The connection"))
    assert len(limits) == 8
    for _, default, setting, _ in limits:
        name = setting.strip("`").removeprefix("websocket.")
        assert float(default.split()[0]) == getattr(WebSocketSettings(), name), name


def test_the_settings_are_those_of_the_code_and_of_the_shipped_file():
    shipped = json.loads((ROOT / "config.json").read_text())
    table = rows(section("Settings that a backend notices"))
    assert len(table) > 10
    seen: dict[str, Any] = {}
    for key, default, value, *_ in table:
        found: Any = Settings.model_construct()
        for part in key.strip("`").split("."):
            found = getattr(found, part)
        assert (None if default == "none" else float(default)) == found, key
        if value:
            seen[key.strip("`")] = float(value)
    assert seen == shipped


def test_every_setting_that_is_named_exists():
    for key in re.findall(r"`(websocket\.\w+)`", TEXT):
        assert key.removeprefix("websocket.") in WebSocketSettings.model_fields
    for key in re.findall(r"`(\w+_(?:sec|ms|fps|streams|retries))`", TEXT):
        assert key in Settings.model_fields


def test_the_answers_over_http_look_as_shown():
    health = examples("GET /health")[0]
    assert set(health) == set(Health.model_fields)
    Health.model_validate(health)
    ((label, text),) = [(label, text) for label, text in EXAMPLES if label.startswith("GET /camera/")]
    identifier = label.removeprefix("GET /camera/").removesuffix("/image")
    assert json.loads(text) == {"detail": f"no subscription {identifier}"}


def test_every_link_inside_leads_to_a_heading():
    counts: dict[str, int] = {}
    anchors: set[str] = set()
    for title in re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE):
        slug = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        anchors.add(slug if slug not in counts else f"{slug}-{counts[slug]}")
        counts[slug] = counts.get(slug, 0) + 1
    linked = set(re.findall(r"\]\(#([\w-]+)\)", TEXT))
    assert linked <= anchors
    for file in re.findall(r"\]\(([\w./]+\.md)\)", TEXT):
        assert (ROOT / file).exists()


def test_every_route_exists():
    from siwatsystem.routes import cameras, dashboard, documents, health, image, metrics

    modules = (image, health, metrics, documents, dashboard, cameras)
    served = {getattr(route, "path", "") for module in modules for route in module.router.routes}
    # How a part of the path is converted is no part of its name.
    served = {path.replace(":path}", "}") for path in served} | {"/docs", "/openapi.json"}
    named = set(re.findall(r"`GET (/[^`]*)`", section("HTTP")))
    assert named <= served
    assert named
