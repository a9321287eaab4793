"""`docs/pipelines.md` is true: its commands are run in order and print what it shows, its files are used
as they stand there, its examples are read by the models that read them in the product."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from siwatsystem.__main__ import app
from siwatsystem.analysis.tally import Tally
from siwatsystem.config import Settings
from siwatsystem.expectations import Case, Expectation, Expected
from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.tracking import Tracking
from siwatsystem.pipeline.warnings import warnings_of
from tests.exports import share_exports

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "pipelines.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^<!-- ([^\n]+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NODE: dict[str, Any] = {
    "modelId": "n",
    "modelFile": "n.pt",
    "minConfidence": 0.5,
    "triggerClasses": ["Car"],
}
MOST_KB = 200


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `mark` is the remark before it, which says what it is for."""

    mark: str
    language: str
    text: str


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level = 3 if f"### {title}\n" in TEXT else 2
    below = TEXT.split(f"\n{'#' * level} {title}\n", 1)[1]
    return re.split(rf"^#{{2,{level}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str = TEXT) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(text)]


def columns(text: str) -> set[str]:
    """Every name in the first column of the tables."""
    rows = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def options(*names: str) -> set[str]:
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return {one for option in command.params for one in (*option.opts, *option.secondary_opts)}


# What is said.


def test_every_example_of_json_is_read_by_what_reads_it():
    for block in blocks():
        if block.language != "json":
            continue
        value = json.loads(block.text)
        kind, _, rest = block.mark.partition(": ")
        if kind == "set" and rest.endswith(" pipeline.tracking"):
            Tracking.model_validate(value)
        elif kind == "settings":
            Settings.model_validate(value)
        elif kind == "node":
            assert warnings_of(parse({"pipeline": value})) == []
        elif kind == "editor":
            (schema,) = value["json.schemas"]
            assert (ROOT / schema["url"]).is_file()
        elif isinstance(value, dict) and "cases" in value:
            Expected.model_validate(value, by_alias=True, by_name=False)
        else:
            assert kind == "set" or "events" in value, block.text


def test_every_option_of_run_is_told_and_no_other():
    told = columns(section("Try an archive on a clip"))
    known = options("run")
    assert told <= known
    left = {one for one in known if one.startswith("--")} - told
    assert left == {"--video"}  # which is what is done anyway


def test_every_option_and_command_that_is_named_exists():
    commands: Any = typer.main.get_command(app)
    mpta = commands.commands["mpta"].commands
    assert set(re.findall(r"siwat mpta (\w+)", TEXT)) == set(mpta)
    known = {"--help", *options("run"), *(one for name in mpta for one in options("mpta", name))}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known


def test_the_tables_have_every_key_of_a_test():
    def keys(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    of_case, of_expectation = section("Tests inside an archive").split("| key of an expectation |")
    assert columns(of_case) == keys(Case)
    assert columns(of_expectation) == keys(Expectation)


def test_the_summary_s_table_is_complete():
    from siwatsystem.analysis.summary import summary

    assert columns(section("Summary")) == set(summary(Tally(), (), 1.0))


def test_every_setting_that_is_named_exists():
    for key in re.findall(r"`models\.(\w+)`", TEXT):
        assert key in Settings.model_fields["models"].annotation.model_fields  # type: ignore[union-attr]
    assert "require_signature" in Settings.model_fields


def test_links_and_pictures_lead_somewhere():
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
    other = (ROOT / "pympta.md").read_text(encoding="utf-8").lower()
    for anchor in re.findall(r"\]\(\.\./pympta\.md#([^)]+)\)", TEXT):
        assert f"# {anchor.replace('-', ' ')}\n" in other
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert len(pictures) >= 4
    for name in pictures:
        assert 0 < (PAGE.parent / name).stat().st_size <= 1000 * MOST_KB, name


def test_every_section_is_in_the_contents():
    listed = re.findall(r"^- \[([^\]]+)\]", TEXT.split("\n## ")[0], re.MULTILINE)
    assert listed == re.findall(r"^## (.+)$", TEXT, re.MULTILINE)


# What is done.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout, with an empty `work`."""
    for name in ("demo", "siwatsystem"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "work").mkdir()
    share_exports(tmp_path / "data")
    return tmp_path


def follow(text: str, checkout: Path) -> None:
    """Do what the page says: write its files, edit, run its commands and compare what they print."""
    printed: str | None = None
    for block in blocks(text):
        kind, _, rest = block.mark.partition(": ")
        if block.language == "text":
            assert printed is not None, block.text
            compare(block.text, printed)
        elif block.language == "sh":
            printed = run(block.text, checkout, int(rest) if kind == "exit" else 0)
        elif kind == "file":
            path = checkout / rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif kind == "set":
            name, _, keys = rest.partition(" ")
            edit(checkout / name, keys.split("."), json.loads(block.text))


def run(commands: str, checkout: Path, status: int) -> str:
    """Run a block of commands as a shell would, in the environment that the page asks for."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SIWAT_DATA_DIR": str(checkout / "data"),
        "HOME": str(checkout / "home"),
    }
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == status, f"{commands}\n{printed}"
    assert "Traceback" not in printed, printed
    return done.stdout


def edit(path: Path, keys: list[str], value: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


def compare(shown: str, printed: str) -> None:
    """Every line that is shown was printed, in that order. `…` stands for anything, as a line for lines;
    without one, nothing may lie between two lines. Times and digests differ from run to run."""
    pattern = "".join(_line(line) for line in shown.splitlines())
    found = "".join(f"{_plain(line)}\n" for line in printed.splitlines() if _plain(line))
    assert re.search(pattern, found), f"shown:\n{shown}\nprinted:\n{printed}"


def _line(line: str) -> str:
    plain = _plain(line)
    if plain == "…":
        return r"(?:.*\n)*?"
    parts = (re.escape(part.strip(" ")) for part in plain.split("…"))
    return r"\s?.*?\s?".join(parts) + r"\n" if plain else ""


def _plain(line: str) -> str:
    """Without what varies: colours, widths, frames of tables, digests, measured times and sizes."""
    line = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", line)).strip()
    line = re.sub(r"SHA256:\S{43}", "SHA256:#", line)
    line = re.sub(r"(?<!\w)[A-Za-z0-9+/]{43}=", "#", line)
    line = re.sub(r"\b[0-9a-f]{12,64}\b", "#", line)
    line = re.sub(r"[┃┏┓┡┩━╇┳]+", "┃", line)
    line = re.sub(r"\d+\.\d+ (s|MB|kB|frames/s)\b|\b\d+ bytes|\b\d+\.\d\d │", "#", line)
    return re.sub(r"^\d+:\d\d\.\d|\d+ events$", "#", line)


PARTS = TEXT.partition("\n## From zero weights to a running archive\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_on_the_demo_print_what_is_shown(checkout: Path):
    follow(PARTS[0], checkout)
    written = (checkout / "work/zoned/morning-rush.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written.splitlines()]
    events = [event for line in lines for event in line["events"]]
    table = section("Lines")
    (example,) = [json.loads(block.text) for block in blocks(table) if block.language == "json"]
    assert set().union(*lines) == set(example)
    assert set().union(*events) == set(example["events"][0])
    said = [branch for event in events for branch in event["branches"].values()]
    shown = {key for branch in example["events"][0]["branches"].values() for key in branch}
    assert set().union(*said) == shown | {"body_type"}
    assert [
        name
        for name in (*shown, *example["events"][0], *example, "failure")
        if f"`{name}`" not in table and f"[].{name}`" not in table and f".*.{name}`" not in table
    ] == []
    made = {path.name.removeprefix("morning-rush.") for path in (checkout / "work/first").iterdir()}
    assert made == {
        "jsonl",
        "annotated.mp4",
        "summary.json",
        "detections.png",
        "confidences.png",
        "timing.png",
    }


@pytest.mark.long
@pytest.mark.timeout(900)
def test_from_zero_weights_to_a_running_archive(checkout: Path):
    follow("## From zero" + PARTS[2], checkout)
    report = json.loads(run("siwat mpta test work/car.mpta --json", checkout, 0))
    assert report["passed"]
    assert len(report["cases"]) == 1
