"""`docs/client.md`: its examples run, as they are, against a worker; its table has every exception."""

import re
import runpy
from pathlib import Path

import pytest

from siwatsystem import client
from siwatsystem.conformance import archive, running, stand
from tests.fake_worker import fake_worker

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
CHECK_TEXT = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
SAYS = (
    (r"visit-77 \S+Z \{'class': 'Car'", r"\d+ bytes of JPEG"),
    (r"12\.5 None",),
    (r"not merged: ",),
    (r"display-009;cam-009: not online within 0.5 s: .* was not subscribed here\n404",),
)
"""What each example prints."""


@pytest.mark.parametrize(("example", "says"), list(zip(EXAMPLES, SAYS, strict=True)))
def test_the_example_runs(
    example: str, says: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    with stand.running({"check": archive.make()}) as cameras, fake_worker() as worker:
        names = {"WORKER": worker.url, "TOKEN": None, "CAMERA": cameras.video("a")}
        runpy.run_path(str(script), {**names, "ARCHIVE": cameras.archive("check")})
    shown = capsys.readouterr().out
    assert all(re.search(pattern, shown) for pattern in says), shown


def test_the_table_has_every_exception():
    named = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    raised = {
        name
        for name in client.__all__
        if isinstance(getattr(client, name), type) and issubclass(getattr(client, name), client.ClientError)
    }
    assert named == raised - {"ClientError"}


def test_every_group_of_checks_is_told():
    table = CHECK_TEXT.split("## What is checked", 1)[1]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named == [group.name for group in running.GROUPS]


def test_every_option_that_is_named_exists():
    from typer.testing import CliRunner

    from siwatsystem.__main__ import app

    shown = CliRunner().invoke(app, ["check", "--help"], env={"COLUMNS": "200"}).output
    for option in re.findall(r"--[a-z][a-z-]+", CHECK_TEXT):
        assert option in shown, option
