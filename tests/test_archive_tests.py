import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from siwatsystem import archive_tests
from siwatsystem.archive_tests import Report
from siwatsystem.detections import Classification, Detection, Prediction
from siwatsystem.errors import PipelineFailed
from siwatsystem.expectations import ExpectationsInvalid, read_cases
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.spec import parse
from siwatsystem.proofs import MOST_KEPT, Proof, Proofs
from siwatsystem.testing import FakeModel
from tests.scripted import PUBLISH, SAVE, Bench, branch, root, update

FPS = 10
SIZE = (160, 320)
CAR_SIZE = 40


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ThreadPoolExecutor(2) as threads:
        yield Bench(threads)


def sees_white(image: Image) -> Prediction:
    """A detector that works: every white rectangle is a car."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 128).astype(np.uint8))
    boxes = [[float(value) for value in stats[index][:4]] for index in range(1, count)]
    return tuple(
        Detection("Car", 0.9, (x, y, x + width, y + height)) for x, y, width, height in sorted(boxes)
    )


def brand_by_green(image: Image) -> Prediction:
    return Classification("Aster" if image[..., 1].mean() > 240 else "Borel", 0.95)


def draw(*cars: tuple[int, int], green: int = 255) -> Image:
    image = np.zeros((*SIZE, 3), np.uint8)
    for x, y in cars:
        image[y : y + CAR_SIZE, x : x + CAR_SIZE] = (255, green, 255)
    return image


def picture(folder: Path, name: str, image: Image) -> None:
    (folder / "tests").mkdir(exist_ok=True, parents=True)
    assert cv2.imwrite(str(folder / "tests" / name), image)


def clip(folder: Path, name: str, images: list[Image]) -> None:
    (folder / "tests").mkdir(exist_ok=True, parents=True)
    height, width = SIZE
    code = cv2.VideoWriter.fourcc(*("MJPG" if name.endswith(".mkv") else "mp4v"))
    writer = cv2.VideoWriter(str(folder / "tests" / name), code, FPS, (width, height))
    for image in images:
        writer.write(image)
    writer.release()


def expect(folder: Path, *cases: dict[str, Any]) -> None:
    (folder / "tests").mkdir(exist_ok=True, parents=True)
    (folder / "tests" / "expected.json").write_text(json.dumps({"cases": cases}))


def node(**keys: Any) -> dict[str, Any]:
    brand = branch("car_brand", parallel=True)
    return root(triggerClasses=["Car"], objectClass="Car", branches=[brand], **keys)


MODELS: dict[str, FakeModel] = {
    "root": FakeModel(sees_white, ["Car"]),
    "car_brand": FakeModel(brand_by_green, ["Aster", "Borel"], "classify"),
}


def run(bench: Bench, folder: Path, **keys: Any) -> Report:
    pipeline = bench.pipeline(node(**keys), MODELS)
    return archive_tests.run(pipeline, folder, bench.threads)


def why(report: Report) -> str:
    return "; ".join(line for result in report.results for line in result.why)


ASTER = {"class": "Car", "attributes": {"carBrand": "Aster"}}


def test_a_picture_shows_a_car_of_a_brand_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    picture(tmp_path, "aster.png", draw((40, 60)))
    picture(tmp_path, "borel.png", draw((40, 60), green=200))
    picture(tmp_path, "two.png", draw((40, 60), (200, 60)))
    picture(tmp_path, "none.png", draw())
    names = ["aster.png", "borel.png", "two.png", "none.png"]
    expect(tmp_path, *({"file": name, "expect": [ASTER], "exactly": True} for name in names))
    report = run(bench, tmp_path)
    assert [result.passed for result in report.results] == [True, False, False, False]
    assert report.first_failure == (
        "tests/borel.png: expect[0]: Car with carBrand Aster: 1 expected, 0 seen (Car, carBrand Borel in "
        "[40, 60, 80, 100]); exactly: not expected: Car, carBrand Borel in [40, 60, 80, 100]"
    )
    assert "1 expected, 2 seen" in why(Report(report.results[2:3]))


def test_what_is_not_exactly_may_show_more(bench: Bench, tmp_path: Path) -> None:
    picture(tmp_path, "two.png", draw((40, 60), (200, 60)))
    expect(tmp_path, {"file": "two.png", "expect": [ASTER]})
    assert run(bench, tmp_path).passed


def test_a_file_that_shows_nothing(bench: Bench, tmp_path: Path) -> None:
    picture(tmp_path, "none.png", draw())
    picture(tmp_path, "one.png", draw((40, 60)))
    expect(tmp_path, *({"file": name, "expect": [], "exactly": True} for name in ("none.png", "one.png")))
    report = run(bench, tmp_path)
    assert [result.passed for result in report.results] == [True, False]


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({"count": 2}, True),
        ({"count": 1}, False),
        ({"count": 0}, False),
        ({"min": 2}, True),
        ({"min": 3}, False),
        ({"max": 2}, True),
        ({"max": 1}, False),
        ({"min": 1, "max": 3}, True),
        ({"box": [42, 60, 80, 100]}, True),
        ({"box": [42, 60, 80, 100], "minIou": 0.99}, False),
        ({"box": [120, 60, 160, 100]}, False),
        ({"box": [40, 60, 80, 100], "count": 1}, True),
        ({"branches": {"car_brand": "Aster"}, "count": 2}, True),
        ({"branches": {"car_brand": "Borel"}}, False),
        ({"class": "car"}, True),
    ],
)
def test_how_many_and_where(bench: Bench, tmp_path: Path, wanted: dict[str, Any], passes: bool) -> None:
    picture(tmp_path, "two.png", draw((40, 60), (200, 60)))
    expect(tmp_path, {"file": "two.png", "expect": [{"class": "Car", **wanted}]})
    assert run(bench, tmp_path).passed is passes


ZONE = {"zone": [[0, 80], [320, 80], [320, 160], [0, 160]]}
"""The lower half."""


def drive(lanes: list[tuple[int, int]]) -> list[Image]:
    """Cars that drive in from the left; in lane (y, start frame)."""
    return [draw(*((8 * (frame - start), y) for y, start in lanes if frame >= start)) for frame in range(30)]


def test_in_a_clip_so_many_cars_enter_the_zone(bench: Bench, tmp_path: Path) -> None:
    clip(tmp_path, "a.mp4", drive([(20, 0), (70, 0), (115, 6)]))
    case = {"file": "a.mp4", "fps": FPS, "expect": [{"class": "Car", "count": 2}], "exactly": True}
    expect(tmp_path, case, case | {"expect": [{"class": "Car", "count": 3}]})
    report = run(bench, tmp_path, tracking={**ZONE, "stabilityThreshold": 3})
    assert [result.passed for result in report.results] == [True, False], why(report)
    assert report.results[0].frames == 30
    assert "3 expected, 2 seen (Car #1, carBrand Aster" in why(report)


def test_a_picture_stands_still_before_a_pipeline_that_tracks(bench: Bench, tmp_path: Path) -> None:
    picture(tmp_path, "two.png", draw((40, 100), (200, 20)))
    expect(tmp_path, {"file": "two.png", "expect": [ASTER], "exactly": True})
    before = len(MODELS["root"].seen)
    report = run(bench, tmp_path, tracking={**ZONE, "stabilityThreshold": 5})
    assert report.passed, why(report)
    assert report.results[0].frames > 5
    assert len(MODELS["root"].seen) == before + 1


def test_without_tracking_the_frame_with_most_of_them_counts(bench: Bench, tmp_path: Path) -> None:
    clip(tmp_path, "a.mp4", drive([(20, 0), (70, 0), (115, 6)]))
    expect(tmp_path, {"file": "a.mp4", "fps": FPS, "expect": [{"class": "Car", "count": 3}], "exactly": True})
    assert run(bench, tmp_path).passed


def test_each_case_begins_with_nothing_remembered(bench: Bench, tmp_path: Path) -> None:
    clip(tmp_path, "a.mp4", drive([(70, 0)]))
    case = {"file": "a.mp4", "fps": FPS, "expect": [{"class": "Car", "count": 1}], "exactly": True}
    expect(tmp_path, case, case, case)
    report = run(bench, tmp_path, tracking={"stabilityThreshold": 2})
    assert report.passed, why(report)


def test_actions_go_nowhere(bench: Bench, tmp_path: Path) -> None:
    picture(tmp_path, "one.png", draw((40, 60)))
    expect(tmp_path, {"file": "one.png", "expect": [ASTER]})
    saved = {"actions": [{**SAVE, "region": "Car"}, PUBLISH]}
    record = update("car_brand", car_brand="{car_brand.class}")
    assert run(bench, tmp_path, **saved, parallelActions=[record]).passed
    assert bench.outbox.events == []
    # The same pipeline does act outside of the tests.
    bench.pipeline(node(**saved), MODELS).run(draw((40, 60)), EventContext("d;c", "d", None, 1.0))
    assert bench.outbox.events != []


def test_a_damaged_clip_fails_and_says_so(bench: Bench, tmp_path: Path) -> None:
    clip(tmp_path, "a.mkv", drive([(70, 0)]))
    whole = (tmp_path / "tests/a.mkv").read_bytes()
    (tmp_path / "tests/a.mkv").write_bytes(whole[: len(whole) // 2])
    expect(tmp_path, {"file": "a.mkv", "fps": FPS, "expect": [{"class": "Car"}]})
    assert "damaged" in why(run(bench, tmp_path))


def test_a_model_that_fails_is_no_failed_case(bench: Bench, tmp_path: Path) -> None:
    picture(tmp_path, "one.png", draw((40, 60)))
    expect(tmp_path, {"file": "one.png", "expect": [ASTER]})
    pipeline = bench.pipeline(node(), MODELS | {"root": FakeModel(RuntimeError("no memory"), ["Car"])})
    with pytest.raises(PipelineFailed, match=r"tests/one\.png: .*no memory"):
        archive_tests.run(pipeline, tmp_path, bench.threads)


def test_it_ends_when_told_to(bench: Bench, tmp_path: Path) -> None:
    clip(tmp_path, "a.mp4", drive([(70, 0)]))
    expect(tmp_path, {"file": "a.mp4", "expect": [ASTER]})
    stopped = threading.Event()
    stopped.set()
    pipeline = bench.pipeline(node(), MODELS)
    with pytest.raises(PipelineFailed, match="stopped"):
        archive_tests.run(pipeline, tmp_path, bench.threads, stopped=stopped.is_set)


def test_no_tests_are_no_failure(bench: Bench, tmp_path: Path) -> None:
    report = run(bench, tmp_path)
    assert report.passed
    assert report.results == ()


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "is not JSON"),
    "a list": ([], ": must be an object, not []"),
    "key": ({"case": []}, "cases: is missing; tests/expected.json: case: is no key that is known here"),
    "count": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Car", "count": "3"}]}]},
        'cases[0].expect[0].count: must be a whole number, not "3"',
    ),
    "both": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Car", "count": 1, "max": 2}]}]},
        "cases[0].expect[0]: count stands alone, or min and max do",
    ),
    "crossed": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Car", "min": 3, "max": 2}]}]},
        "cases[0].expect[0]: min 3 is above max 2",
    ),
    "box": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Car", "box": [9, 0, 1, 5]}]}]},
        "cases[0].expect[0].box: must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
    ),
    "nothing": ({"cases": [{"file": "a.png", "expect": []}]}, "cases[0]: expects nothing"),
    "outside": ({"cases": [{"file": "../a.png", "expect": [ASTER]}]}, "cases[0].file: '../a.png' is no path"),
    "missing": (
        {"cases": [{"file": "nix.png", "expect": [ASTER]}]},
        "cases[0].file: there is no tests/nix.png",
    ),
    "unreadable": (
        {"cases": [{"file": "junk.png", "expect": [ASTER]}]},
        "cases[0].file: junk.png: is no picture that can be read",
    ),
    "class": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Bus"}]}]},
        "cases[0].expect[0].class: Bus is none of triggerClasses: Car",
    ),
    "attribute": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Car", "attributes": {"colour": "red"}}]}]},
        "cases[0].expect[0].attributes.colour: no attribute of this pipeline has that name (carBrand)",
    ),
    "branch": (
        {"cases": [{"file": "a.png", "expect": [{"class": "Car", "branches": {"plate": "x"}}]}]},
        "cases[0].expect[0].branches.plate: no branch of this pipeline has that name (car_brand)",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_mistakes_are_told_with_their_path(bench: Bench, tmp_path: Path, kind: str) -> None:
    content, told = BAD[kind]
    picture(tmp_path, "a.png", draw((40, 60)))
    (tmp_path / "tests/junk.png").write_text("junk")
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "tests/expected.json").write_text(text)
    with pytest.raises(ExpectationsInvalid) as raised:
        run(bench, tmp_path)
    assert raised.value.code == "model_invalid"
    assert told in raised.value.message
    assert str(tmp_path) not in raised.value.message


def test_remarks_are_no_keys(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", draw((40, 60)))
    content = {"$schema": "x", "//": "two", "cases": [{"// ": "one", "file": "a.png", "expect": [ASTER]}]}
    (tmp_path / "tests/expected.json").write_text(json.dumps(content))
    (case,) = read_cases(tmp_path, parse({"pipeline": node()}))
    assert (case.file, case.fps, case.exactly) == ("a.png", 10, False)


def test_a_proof_holds_for_its_archive_and_precision(bench: Bench, tmp_path: Path) -> None:
    pipeline = bench.pipeline(node(), {name: with_runtime(model) for name, model in MODELS.items()})
    proofs = Proofs(tmp_path / "proofs")
    assert proofs.find("one", pipeline) is None
    proofs.keep("one", pipeline, Proof(3))
    proofs.keep("two", pipeline, Proof(3, "why"))
    again = Proofs(tmp_path / "proofs")
    assert again.find("one", pipeline) == Proof(3)
    assert again.find("two", pipeline) == Proof(3, "why")
    pipeline.precision = "fast"
    assert again.find("one", pipeline) is None
    pipeline.precision = "exact"
    for garbage in ("{", "", "[]", "[" * 100_000, '{"cases": 1e999, "failure": null}'):
        for path in (tmp_path / "proofs").iterdir():
            path.write_text(garbage)
        assert again.find("one", pipeline) is None


def test_old_proofs_make_room_and_a_full_disk_is_no_failure(bench: Bench, tmp_path: Path) -> None:
    pipeline = bench.pipeline(node(), {name: with_runtime(model) for name, model in MODELS.items()})
    proofs = Proofs(tmp_path / "proofs")
    (tmp_path / "proofs").mkdir()
    for number in range(MOST_KEPT):
        (tmp_path / "proofs" / f"{number}.json").touch()
    proofs.keep("one", pipeline, Proof(1))
    assert len(list((tmp_path / "proofs").iterdir())) == MOST_KEPT
    assert proofs.find("one", pipeline) == Proof(1)
    (tmp_path / "file").touch()
    nowhere = Proofs(tmp_path / "file" / "proofs")
    nowhere.keep("one", pipeline, Proof(1))
    assert nowhere.find("one", pipeline) is None


def with_runtime(model: FakeModel) -> FakeModel:
    model.runtime = "scripted"  # type: ignore[attr-defined]
    return model
