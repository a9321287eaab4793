"""`siwat mpta validate` on the demo's archive and on what was done to it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.commands.archives import DEMO, mpta, rewrite, run, small, unpacked


def test_the_demo_is_valid() -> None:
    done = mpta("validate", DEMO)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{DEMO}: valid\n", "")


def test_a_class_that_no_model_has_is_told_for_a_folder(tmp_path: Path) -> None:
    folder = rewrite(unpacked(tmp_path / "cars"), expectedClasses=["Car", "Fruntal"])
    (folder / "car_brand_classification.pt").write_bytes(b"junk")
    done = run("validate", folder, "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, told["valid"]) == (1, "", False)
    assert {problem["path"] for problem in told["problems"]} == {
        "pipeline.expectedClasses[1]",
        "pipeline.branches[0].modelFile",
    }
    assert any("did you mean 'Frontal'?" in problem["hint"] for problem in told["problems"])


def test_thirty_five_mistakes_are_told_at_once(tmp_path: Path) -> None:
    branch = {"modelId": "", "modelFile": "../x", "minConfidence": 2, "triggerClasses": "Car", "crop": 1}
    action: dict[str, Any] = {"type": "redis_publish", "channel": "{nope}", "message": "{nix}"}
    root = {
        "modelId": "a",
        "modelFile": "absent.pt",
        "minConfidence": -1,
        "triggerClasses": ["Car"],
        "branches": [branch] * 5,
        "actions": [action],
    }
    done = run("validate", small(tmp_path / "in", {"pipeline": root}))
    lines = [line for line in done.stdout.splitlines() if line.startswith("mistake")]
    assert done.exit_code == 1
    assert len(lines) == 35
    assert done.stdout.endswith(": not valid, 35 mistakes; more is looked at once these are mended\n")
    assert "mistake  pipeline.branches[4].crop: must be true or false, not a number" in lines
    assert done.stderr == ""


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--strict",), 1)])
def test_warnings_fail_only_where_they_are_to(tmp_path: Path, options: tuple[str, ...], status: int) -> None:
    done = run("validate", rewrite(unpacked(tmp_path / "cars"), colour="red"), *options)
    assert done.exit_code == status
    assert "warning  pipeline.colour: unknown key" in done.stdout
    assert "valid, 1 warning" in done.stdout


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"pipeline.json": "{}", "../evil": "x"}, "leads out of the archive"),
        ({"a/pipeline.json": "{}", "b/pipeline.json": "{}"}, "several top folders"),
        ({"a.pt": "x"}, "no pipeline.json"),
        ({"pipeline.json": '{\n  "pipeline": oops\n}'}, "line 2 column 15"),
    ],
)
def test_broken_archives_are_told(tmp_path: Path, entries: dict[str, str], words: str) -> None:
    path = tmp_path / "broken.mpta"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in entries.items():
            file.writestr(name, text)
    done = run("validate", path)
    assert (done.exit_code, done.stderr) == (1, "")
    assert words in done.stdout
    assert "the models were not looked at" in done.stdout


def test_a_cut_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.mpta"
    path.write_bytes(DEMO.read_bytes()[:1_000_000])
    done = run("validate", path)
    assert (done.exit_code, done.stderr) == (1, "")
    assert "cut short" in done.stdout


def test_what_is_not_there_and_bad_settings_are_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("validate", tmp_path / "nix.mpta").exit_code == 2
    monkeypatch.setenv("SIWAT_MODELS__MAX_ENTRIES", "many")
    done = run("validate", DEMO)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "max_entries" in done.stderr


def test_expectations_that_cannot_hold_are_told(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "cars")
    (folder / "tests").mkdir()
    case = {"file": "nix.jpg", "expect": [{"class": "Bus"}]}
    (folder / "tests" / "expected.json").write_text(json.dumps({"cases": [case]}))
    done = run("validate", folder)
    assert done.exit_code == 1
    assert "tests/expected.json: cases[0].file" in done.stdout
    assert "tests/expected.json: cases[0].expect[0].class" in done.stdout


def test_the_limits_that_are_set_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIWAT_MODELS__MAX_UNPACKED_MB", "1")
    done = run("validate", DEMO)
    assert done.exit_code == 1
    assert "more than 1 MB" in done.stdout
