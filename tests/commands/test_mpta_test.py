"""`siwat mpta test`, as a process, on the demo's networks and rendered scenes."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import pytest

from demo.scenes import render
from tests.commands.archives import DEMO, mpta, unpacked
from tests.exports import share_exports

ASTER = {"class": "Car", "attributes": {"carBrand": "Corvano", "bodyType": "Pickup"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive with a picture in its tests."""
    folder = unpacked(tmp_path_factory.mktemp("demo") / "demo")
    (folder / "tests").mkdir()
    scene = render(3_500_000, (960, 540))
    assert [(car.brand, car.body_type) for car in scene.cars] == [("Corvano", "Pickup")]
    assert cv2.imwrite(str(folder / "tests" / "pickup.png"), scene.image)
    return folder


def expect(folder: Path, *cases: dict[str, Any]) -> None:
    (folder / "tests" / "expected.json").write_text(json.dumps({"cases": cases}))


@pytest.fixture(autouse=True)
def _data_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all tests here: what the first one exports the others find."""
    monkeypatch.setenv("SIWAT_DATA_DIR", str(share_exports(folder.parent / "data")))


def test_an_archive_proves_itself(folder: Path, tmp_path: Path) -> None:
    right = {"file": "pickup.png", "expect": [ASTER], "exactly": True}
    wrong = {"file": "pickup.png", "expect": [{"class": "Car", "attributes": {"carBrand": "Aster"}}]}
    expect(folder, right)
    done = mpta("test", folder, "--junit", tmp_path / "r.xml")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert done.stdout.endswith("1 passed, 0 failed\n")
    assert mpta("pack", folder, "-o", tmp_path / "a.mpta").returncode == 0

    expect(folder, right, wrong)
    done = mpta("test", folder, "--json", "--junit", tmp_path / "r.xml")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [case["passed"] for case in said["cases"]] == [True, False]
    assert said["passed"] is False
    assert "Car with carBrand Aster: at least 1 expected, 0 seen" in said["cases"][1]["why"][0]
    suite = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["pickup.png", "pickup.png"]
    assert len(suite.findall("testcase/failure")) == 1
    # The archive was packed before and is still right.
    assert mpta("test", tmp_path / "a.mpta").returncode == 0


def test_mistakes_are_one_line_each(folder: Path) -> None:
    expect(folder, {"file": "nix.png", "expect": [{"class": "Bus", "cuont": 1}]}, {"file": "nix.png"})
    done = mpta("test", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "siwat: tests/expected.json: cases[0].expect[0].cuont: is no key that is known here",
        "siwat: tests/expected.json: cases[1].expect: is missing",
    ]


def test_without_tests_it_warns() -> None:
    done = mpta("test", DEMO)
    assert done.returncode == 0
    assert "has no tests" in done.stderr


def test_what_is_no_archive_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.mpta").write_text("hello")
    done = mpta("test", tmp_path / "a.mpta")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert mpta("test", tmp_path / "nix").returncode == 2
