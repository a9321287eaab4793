"""`pympta.md`: every JSON example in it is valid, and its tables are complete."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from siwatsystem.actions.registry import KINDS
from siwatsystem.detections import Detection
from siwatsystem.pipeline.checks import CONTEXT
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.spec import PipelineSpec, parse
from siwatsystem.pipeline.tracking import TrackerConfig, Tracking, Voting
from siwatsystem.pipeline.warnings import warnings_of

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "pympta.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
]
SERVERS = {
    "redis": "embedded",
    "postgresql": "embedded",
    "mqtt": {"host": "broker"},
    "kafka": {"bootstrap_servers": "kafka:9092"},
}


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^#+ ", TEXT.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def keys(title: str) -> set[str]:
    """First column of the table in a section."""
    return set(re.findall(r"^\| `(\w+)`(?: \(extension\))? \|", section(title), re.MULTILINE))


def aliases(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def as_pipeline(example: dict[str, Any]) -> PipelineSpec | None:
    """What an example is in a whole pipeline.json; None where it is no part of one."""
    if "pipeline" in example:
        return parse(example)
    if "modelId" in example:
        return parse({"pipeline": example, **SERVERS})
    node: dict[str, Any] = {
        "modelId": "n",
        "modelFile": "n.pt",
        "minConfidence": 0.5,
        "triggerClasses": ["Car"],
    }
    if "method" in example:
        return parse({"pipeline": node | {"tracking": example}})
    if "minVotes" in example:
        return parse({"pipeline": node | {"voting": example}})
    if "type" in example:
        waits = [{**node, "modelId": name} for name in example.get("waitForBranches", [])]
        return parse({"pipeline": node | {"branches": waits, "parallelActions": [example]}, **SERVERS})
    return None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: ",".join(list(example)[:3]))
def test_examples_are_valid_and_hold_no_unknown_key(example: dict[str, Any]) -> None:
    spec = as_pipeline(example)
    if spec is None:
        node = Node(model_id="car_brand_classification", model_file="m", min_confidence=0, trigger_classes=())
        branch = BranchResult(node, "Honda", 0.88)
        shown = Event(
            Detection("Car", 0.93, (120, 80, 560, 400)), {}, {node.model_id: branch}, 12345
        ).as_dict()
        assert example == shown
        return
    assert [text for text in warnings_of(spec) if "unknown key" in text] == []


def test_there_is_an_example_of_everything() -> None:
    found = {example["type"] for example in EXAMPLES if "type" in example}
    assert found == {kind for kind, about in KINDS.items() if about.model is not None}
    assert sum("pipeline" in example for example in EXAMPLES) == 1
    assert any("method" in example for example in EXAMPLES)
    assert any("branch_results" in example for example in EXAMPLES)


def test_the_tables_name_every_key() -> None:
    assert keys("Nodes") == aliases(Node)
    assert keys("Tracking") == aliases(Tracking)
    assert keys("The tracker's parameters") == aliases(TrackerConfig)
    assert keys("Voting") == aliases(Voting)
    assert keys("Servers") == aliases(PipelineSpec) - {"pipeline"}


def test_every_key_of_an_action_is_told() -> None:
    for kind, about in KINDS.items():
        if about.model is not None:
            text = section(f"`{kind}`")
            assert [key for key in aliases(about.model) if key not in text] == []


def test_every_placeholder_is_told() -> None:
    text = section("Placeholders")
    assert [name for name in CONTEXT if f"`{{{name}}}`" not in text and name != "bbox"] == []


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
    for target in re.findall(r"\]\(#([^)]+)\)", TEXT):
        assert target in anchors


def test_the_demo_is_a_valid_pipeline() -> None:
    data = json.loads((ROOT / "demo" / "pipeline.json").read_text(encoding="utf-8"))
    assert warnings_of(parse(data)) == []
