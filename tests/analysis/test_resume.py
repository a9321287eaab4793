import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siwatsystem.analysis import resuming
from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.file_run import FileRun, Outcome, Wanted
from siwatsystem.analysis.lines import Lines, unfinished
from siwatsystem.analysis.material import Recording
from siwatsystem.analysis.run import Plan, Run
from siwatsystem.pipeline.events import EventContext
from siwatsystem.testing import FakeModel, fake_pipeline
from tests.analysis.results import result
from tests.analysis.scripted_server import lines_of
from tests.analysis.test_run import car_when_bright
from tests.cameras import film


def analysed(
    wanted: Wanted, until: int | None = None, keep: bool = True, model: Any = None, **more: Any
) -> Outcome:
    """`wanted`, left once frame `until` is reached."""
    pipeline = fake_pipeline(model or FakeModel(car_when_bright, ["Car"]))
    run = FileRun(pipeline, Actions(), EventContext(), "pipeline-1")
    return run.over(wanted, lambda number, _: until is None or number < until, keep=lambda: keep, **more)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return film(tmp_path / "clip.mp4", 40)


def test_lines_are_those_of_a_run_over_the_file_alone(tmp_path, clip):
    outcome = analysed(Wanted(clip, tmp_path / "app" / "clip.jsonl", every=3))
    pipeline = fake_pipeline(FakeModel(car_when_bright, ["Car"]))
    plan = Plan(tmp_path / "run", video=False)
    run = Run(pipeline, Actions(), EventContext(), plan, lambda: False, lambda *_: True, lambda _: None)
    run.over(Recording(clip, every=3), "clip")
    lines = lines_of(tmp_path / "run" / "clip.jsonl")
    assert lines_of(tmp_path / "app" / "clip.jsonl") == lines
    assert outcome.error is None
    assert (outcome.frames, outcome.detections) == (14, sum(len(line["events"]) for line in lines))
    assert [path.name for path in (tmp_path / "app").iterdir()] == ["clip.jsonl"]


@pytest.mark.parametrize("every", [None, 3])
def test_a_file_that_was_left_goes_on_and_gives_the_same_lines(tmp_path, clip, every):
    whole = analysed(Wanted(clip, tmp_path / "whole.jsonl", every=every))
    wanted = Wanted(clip, tmp_path / "parts.jsonl", every=every, resume=True)
    assert analysed(wanted, until=10) == Outcome(left=True)
    assert not wanted.lines.exists()
    seen: list[float] = []

    def counted(image: Any) -> Any:
        seen.append(image.mean())
        return car_when_bright(image)

    assert analysed(wanted, until=25, model=FakeModel(counted, ["Car"])).left
    outcome = analysed(wanted)
    assert len(seen) < 20
    assert lines_of(wanted.lines) == lines_of(tmp_path / "whole.jsonl")
    assert (outcome.frames, outcome.detections, outcome.error) == (whole.frames, whole.detections, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "parts.jsonl", "whole.jsonl"]


@pytest.mark.parametrize("every", [None, 3])
def test_what_is_only_decoded_on_the_way_to_where_it_goes_on_is_told_and_can_be_left(tmp_path, clip, every):
    analysed(Wanted(clip, tmp_path / "whole.jsonl", every=every))
    wanted = Wanted(clip, tmp_path / "parts.jsonl", every=every, resume=True)
    analysed(wanted, until=25)
    told: list[tuple[int, int | None]] = []

    def passing(number: int, total: int | None) -> bool:
        told.append((number, total))
        return number < 10

    assert analysed(wanted, passing=passing) == Outcome(left=True)
    assert told == [(number, 40) for number in range(1, 11)]
    assert analysed(wanted).error is None
    assert lines_of(wanted.lines) == lines_of(tmp_path / "whole.jsonl")


def test_it_begins_anew_where_nobody_asked_or_the_file_has_changed(tmp_path, clip):
    wanted = Wanted(clip, tmp_path / "a.jsonl")
    analysed(wanted, until=10)
    assert analysed(wanted).frames == 40
    wanted = Wanted(clip, tmp_path / "b.jsonl", resume=True)
    analysed(wanted, until=10)
    film(clip, 20)
    assert analysed(wanted).frames == 20
    assert [line["frame"] for line in lines_of(wanted.lines)] == list(range(20))


def test_what_is_not_wanted_any_more_leaves_nothing(tmp_path, clip):
    assert analysed(Wanted(clip, tmp_path / "out" / "a.jsonl", video=True), until=5, keep=False).left
    assert list((tmp_path / "out").iterdir()) == []


def test_half_a_line_and_what_a_power_failure_leaves_are_cut_off(tmp_path):
    path, of = tmp_path / "a.jsonl", {"source": "clip"}
    lines = Lines(path)
    for index in range(3):
        lines.add(result(index, car=1))
    lines.suspend()
    resuming.note(path, of, 5.0)
    whole = unfinished(path).stat().st_size
    for damage in (b'{"frame": 3, "ev', b"\0" * 500, b'{"frame": 1, "events": []}\n', b"[]\n"):
        with unfinished(path).open("ab") as file:
            file.write(damage)
        begun = resuming.begun(path, of)
        assert begun == resuming.Begun(3, whole, 3, 3, 5.0)
        Lines(path, whole).suspend()
        assert unfinished(path).stat().st_size == whole
    assert resuming.begun(path, {"source": "another"}) is None
    resuming.forget(path)
    assert resuming.begun(path, of) is None


def test_two_cannot_write_the_same_lines(tmp_path, clip):
    lines = Lines(tmp_path / "a.jsonl")
    outcome = analysed(Wanted(clip, tmp_path / "a.jsonl"))
    assert "another analysis" in str(outcome.error)
    lines.add(result(0))
    lines.close()
    assert analysed(Wanted(clip, tmp_path / "a.jsonl")).error is None


def test_what_cannot_be_analysed_is_told(tmp_path, clip):
    none = analysed(Wanted(tmp_path / "none.mp4", tmp_path / "a.jsonl"))
    assert "No such file" in str(none.error)
    (tmp_path / "no.mp4").write_text("no video")
    assert "no video" in str(analysed(Wanted(tmp_path / "no.mp4", tmp_path / "a.jsonl")).error)
    assert analysed(Wanted(clip, clip / "a.jsonl")).error
    cut = tmp_path / "cut.mkv"
    whole = film(tmp_path / "whole.mkv", 80).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    damaged = analysed(Wanted(cut, tmp_path / "cut.jsonl"))
    assert damaged.error is not None
    assert damaged.lines == tmp_path / "cut.jsonl"
    assert json.loads((tmp_path / "cut.jsonl").read_text().splitlines()[0])["frame"] == 0

    def fails(image: np.ndarray) -> Any:
        raise ValueError("broken")

    broken = analysed(Wanted(clip, tmp_path / "b.jsonl"), model=FakeModel(fails, ["Car"]))
    assert "failed on 40 frames" in str(broken.error)


def test_a_film_is_written_beside_the_lines(tmp_path, clip):
    analysed(Wanted(clip, tmp_path / "out" / "a.jsonl", video=True))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.annotated.mp4", "a.jsonl"]
