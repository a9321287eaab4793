"""The site's links and its generated pages."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from docs.site import hooks, reference
from siwatsystem import asyncapi
from siwatsystem.deepstream import asyncapi as control_asyncapi


class Files:
    """Pages of a site, by name."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get_file_from_path(self, name: str) -> str | None:
        return name if name in self.names else None


def rewritten(markdown: str, page: str) -> str:
    files = Files(
        "index.md", "worker.md", "settings.md", "dashboard.png", "reference/archive.md", "pympta.md"
    )
    here: Any = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    return hooks.on_page_markdown(markdown, page=here, config=None, files=files)


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        ("index.md", "[s](docs/settings.md#logs)", "[s](settings.md#logs)"),
        ("index.md", "![a `b` c](docs/dashboard.png)", "![a `b` c](dashboard.png)"),
        ("settings.md", "[w](../worker.md#patchsession-1)", "[w](worker.md#patchsession_1)"),
        ("settings.md", "[w](../README.md)", "[w](index.md)"),
        ("reference/archive.md", "[p](../../pympta.md)", "[p](../pympta.md)"),
        ("worker.md", "[code](siwatsystem/errors.py)", "code"),
        ("worker.md", "[gone](docs/gone.md)", "[gone](docs/gone.md)"),
        ("worker.md", "[x](https://example.org/a#b-1)", "[x](https://example.org/a#b-1)"),
        ("index.md", "```\n[s](docs/settings.md)\n```", "```\n[s](docs/settings.md)\n```"),
    ],
)
def test_links_between_files_become_links_between_pages(page: str, before: str, after: str) -> None:
    assert rewritten(before, page) == after


def test_the_reference_has_every_message() -> None:
    for text, document in (
        (reference.worker_messages(), asyncapi.document("1")),
        (reference.control_messages(), control_asyncapi.document("1")),
    ):
        names = document["components"]["messages"]
        assert len(names) > 5
        for name in names:
            assert f"\n## {name}\n" in text


def test_the_reference_has_every_key_and_route() -> None:
    archive = reference.archive()
    assert "| `minConfidence` | number ≥ 0, ≤ 1 | required |" in archive
    assert "\n## GET /camera/{camera_id}/image\n" in reference.worker_rest()
    control = reference.control_rest()
    assert "\n## POST /deepstream/launch\n" in control
    assert "| `config_path` | string" in control


def test_every_page_has_its_place() -> None:
    listed = set(
        re.findall(r"^ +- ([\w/-]+\.md)$", (hooks.ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    )
    pages = {file.name for file in (hooks.ROOT / "docs").glob("*.md")}
    assert listed == pages | set(hooks.OUTSIDE.values()) | set(hooks.GENERATED)
