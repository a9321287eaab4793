"""`siwat mpta init`, with and without questions, on the demo's networks."""

import json
from pathlib import Path

import pytest

from tests.commands.archives import run, unpacked


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return unpacked(tmp_path / "models")


def test_options_make_a_folder_that_packs(tmp_path: Path, models: Path) -> None:
    folder = tmp_path / "new" / "cars"
    brand = models / "car_brand_classification.pt"
    options = [
        "--detector",
        models / "car_frontal_detection.pt",
        "--branch",
        f"{brand}:frontal",
        "--object",
        "car",
    ]
    done = run("init", folder, *options, "--yes")
    assert (done.exit_code, done.stdout) == (0, f"{folder}: valid\n")
    data = json.loads((folder / "pipeline.json").read_text())
    assert data["$schema"] == "./pipeline.schema.json"
    assert json.loads((folder / "pipeline.schema.json").read_text())["title"]
    assert data["pipeline"]["objectClass"] == "Car"
    assert data["pipeline"]["branches"][0]["cropClass"] == "Frontal"
    assert (folder / "car_brand_classification.pt").read_bytes() == brand.read_bytes()
    packed = run("pack", folder)
    assert packed.exit_code == 0
    assert packed.stderr == "left out pipeline.schema.json\n"

    again = run("init", folder, *options, "--yes")
    assert again.exit_code == 2
    assert "--force overwrites it" in again.stderr
    assert run("init", folder, *options, "--yes", "--force").exit_code == 0


def test_questions_are_asked_until_the_answers_fit(tmp_path: Path, models: Path) -> None:
    answers = [
        str(models / "nix.pt"),
        str(models / "car_frontal_detection.pt"),
        "Car, Bus",
        "car",
        str(models / "car_brand_classification.pt"),
        "FRONTAL",
        "",
        "",
        "none",
        "nonsense",
        "postgresql://me:geheim@10.0.0.6/station",
    ]
    done = run("init", tmp_path / "cars", stdin="\n".join(answers) + "\n")
    assert done.exit_code == 0
    assert "Its classes: Car, Frontal" in done.output
    assert "no class of this model: Bus" in done.output
    data = json.loads((tmp_path / "cars" / "pipeline.json").read_text())
    assert "redis" not in data
    assert data["postgresql"]["host"] == "10.0.0.6"
    assert data["pipeline"]["triggerClasses"] == ["Car", "Frontal"]
    assert "objectClass" not in data["pipeline"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trigger", "Carr"], "did you mean 'Car'?"),
        (["--branch", "nix.pt:Car"], "FILE:CLASS"),
        (["--object", "Bus"], "no class 'Bus'"),
        (["--redis", "http://x"], "--redis: no address"),
    ],
)
def test_wrong_options_are_told_in_one_line(
    tmp_path: Path, models: Path, options: list[str], words: str
) -> None:
    folder = tmp_path / "cars"
    done = run("init", folder, "--yes", "--detector", models / "car_frontal_detection.pt", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


def test_without_a_model_nothing_is_made(tmp_path: Path) -> None:
    assert run("init", tmp_path / "cars", "--yes").exit_code == 2
    (tmp_path / "junk.pt").write_bytes(b"junk")
    done = run("init", tmp_path / "cars", "--yes", "--detector", tmp_path / "junk.pt")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "siwat: junk.pt is no checkpoint, or was cut short\n"
    assert not (tmp_path / "cars").exists()


def test_another_model_of_the_same_name_is_not_overwritten(tmp_path: Path, models: Path) -> None:
    folder = tmp_path / "cars"
    folder.mkdir()
    (folder / "car_frontal_detection.pt").write_bytes(b"mine")
    done = run("init", folder, "--yes", "--detector", models / "car_frontal_detection.pt")
    assert done.exit_code == 2
    assert "is another model" in done.stderr
    assert (folder / "car_frontal_detection.pt").read_bytes() == b"mine"
