"""No document takes long to be refused or read, however it is made: each of these is long where
a check once cost the square of them."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.archive import parse_json
from siwatsystem.errors import ModelError
from siwatsystem.expectations import FILE, FOLDER, read_cases
from siwatsystem.pipeline.class_checks import check_classes, class_warnings
from siwatsystem.pipeline.sketch import sketch
from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.warnings import warnings_of
from tests.fuzz.documents import EVERYTHING
from tests.fuzz.target import sendable

SECONDS = 2.0
"""Of processor time; allowed three times over."""
NAMES = {"root": [f"class{number}" for number in range(1000)]}
RECORD = {"type": "postgresql_update_combined", "table": "t", "key_field": "k", "fields": {"a": "b"}}
TOP = {"redis": "embedded", "postgresql": "embedded"}


def node(name: str, **keys: Any) -> dict[str, Any]:
    base = {"modelId": name, "modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["class1"]}
    return {**base, **keys}


def publishing(text: str) -> dict[str, Any]:
    return node("root", actions=[{"type": "redis_publish", "channel": "c", "message": text}])


def strip(corners: int) -> list[list[float]]:
    """A zone like a comb on the slant: no two edges cross, the boxes of many overlap."""
    half = corners // 2
    there = [[number * 2.0, number * 2.0 + 300 * (number % 2)] for number in range(half)]
    back = [[x + 400, y] for x, y in reversed(there)]
    return there + back


def round_zone(corners: int) -> list[list[float]]:
    turn = 2 * math.pi / corners
    return [[500 + 400 * math.cos(n * turn), 500 + 400 * math.sin(n * turn)] for n in range(corners)]


def branches(count: int, **keys: Any) -> list[dict[str, Any]]:
    return [node(f"b{number}", **keys) for number in range(count)]


MANY = [f"name{number}" for number in range(60_000)]
HOSTILE: dict[str, Callable[[], dict[str, Any]]] = {
    "unknown placeholders": lambda: publishing("".join(f"{{{name}}}" for name in MANY)),
    "a long placeholder": lambda: {
        **publishing("{" + "ab" * 400_000 + "}"),
        "branches": [node("ba" * 400_000), node("ab" * 400_000)],
    },
    "nodes": lambda: node("root", branches=branches(10_000)),
    "nodes of one name": lambda: node("root", branches=[node("same")] * 200),
    "zones": lambda: node("root", branches=branches(255, tracking={"zone": round_zone(256)})),
    "slanting zones": lambda: node("root", branches=branches(255, tracking={"zone": strip(256)})),
    "one large zone": lambda: node("root", tracking={"zone": [[1, 1]] * 80_000}),
    "awaited branches": lambda: node(
        "root", parallelActions=[{**RECORD, "waitForBranches": MANY}], branches=branches(200)
    ),
    "records": lambda: node("root", parallelActions=[RECORD] * 8_000, branches=branches(200)),
    "wrong actions": lambda: node("root", actions=[{"type": "x"}] * 40_000),
    "wrong classes": lambda: node("root", triggerClasses=[1] * 200_000),
    "classes": lambda: node("root", triggerClasses=MANY, expectedClasses=["class1"]),
    "classes of a branch": lambda: node("root", branches=[node("b", triggerClasses=MANY)]),
    "unknown keys": lambda: node("root", **dict.fromkeys(MANY, 1)),
    "a path": lambda: node("root", modelFile="a/" * 1_000_000),
    "deep branches": lambda: deep(29),
}


def deep(levels: int) -> dict[str, Any]:
    below = branches(200)
    for level in range(levels):
        below = [node(f"level{level}", branches=below)]
    return node("root", branches=below)


def took(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pipeline_takes_long(name: str):
    data = json.dumps({**TOP, "pipeline": HOSTILE[name]()}).encode()

    def work() -> None:
        value = parse_json(data)
        try:
            spec = parse(value, ["a.pt"])
        except ModelError as error:
            sendable(error.message)
            understood = sketch(value)
            assert understood is not None
        else:
            understood = spec
            warnings_of(spec)
            class_warnings(spec, NAMES)
        check_classes(understood, NAMES)

    assert took(work) < 3 * SECONDS


@pytest.mark.parametrize(
    "cases",
    [
        [{"file": "a.jpg", "expect": [{"class": "x"}]}] * 15_000,
        [{"file": "a.jpg", "expect": [{"class": "Car", "attributes": dict.fromkeys(MANY, "x")}]}],
        [{}] * 60_000,
    ],
    ids=["classes", "attributes", "empty"],
)
def test_no_expectations_take_long(tmp_path: Path, cases: list[Any]):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_text(json.dumps({"cases": cases}))
    spec = parse(EVERYTHING)

    def work() -> None:
        with pytest.raises(ModelError) as raised:
            read_cases(tmp_path, spec)
        sendable(raised.value.message)

    assert took(work) < 3 * SECONDS


def test_expectations_have_a_size(tmp_path: Path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_bytes(b" " * (5 << 20))
    with pytest.raises(ModelError, match="larger than 4 MiB"):
        read_cases(tmp_path, parse(EVERYTHING))
