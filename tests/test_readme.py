"""The README's examples are messages of the protocol, its links lead somewhere, its commands exist."""

import json
import re
from pathlib import Path

import pytest

from siwatsystem.messages import ImageDetection, StateReport, decode

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_every_example_is_a_message():
    kinds = {"stateReport": StateReport, "imageDetection": ImageDetection}
    for example in EXAMPLES:
        if example["type"] in kinds:
            message = kinds[example["type"]].model_validate(example)
            body = message.model_dump(by_alias=True, exclude_unset=True)
            assert {"type": example["type"], **body} == example
        else:
            decode(json.dumps(example))
    assert {example["type"] for example in EXAMPLES} == {"subscribe", "stateReport", "imageDetection"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)`", document.read_text(encoding="utf-8")):
            assert f"\n{target}:" in makefile, (document.name, target)
