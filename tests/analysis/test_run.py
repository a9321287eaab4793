import json
from typing import Any

import numpy as np
import pytest

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.drawing import zones_of
from siwatsystem.analysis.material import Recording
from siwatsystem.analysis.run import Plan, Run
from siwatsystem.detections import Detection
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.spec import parse
from siwatsystem.streams.clip import Clip, clock
from siwatsystem.testing import FakeModel, fake_pipeline
from tests.cameras import film


def car_when_bright(image: Image) -> tuple[Detection, ...]:
    """A car on the brighter half of `film`'s pictures."""
    return (Detection("Car", 0.9, (5, 5, 40, 30)),) if image.mean() > 120 else ()


def ran(tmp_path, plan: Plan, model: FakeModel | None = None, frames: int = 40) -> tuple[Run, list[Analysed]]:
    seen: list[Analysed] = []
    pipeline = fake_pipeline(model or FakeModel(car_when_bright, ["Car"]))
    run = Run(
        pipeline,
        Actions(),
        EventContext(),
        plan,
        lambda: False,
        lambda analysed, _: seen.append(analysed) is None,
        lambda _: None,
    )
    run.over(Recording(film(tmp_path / "clip.mp4", frames)), "clip")
    run.finish(["clip"], "clip", 1.0)
    return run, seen


def test_a_clip_leaves_lines_film_summary_and_plots(tmp_path):
    output = tmp_path / "out"
    run, seen = ran(tmp_path, Plan(output=output))
    assert run.problems == []
    assert run.ended is None
    names = {"clip.jsonl", "clip.annotated.mp4", "clip.summary.json", "clip.detections.png"}
    names |= {"clip.confidences.png", "clip.timing.png"}
    assert {path.name for path in output.iterdir()} == names == {path.name for path in run.written}
    lines = [json.loads(line) for line in (output / "clip.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(40))
    assert [bool(line["events"]) for line in lines] == [one.frame.image.mean() > 120 for one in seen]
    summary = json.loads((output / "clip.summary.json").read_text())
    assert (summary["frames"], summary["seconds"]) == (40, 2.0)
    assert 10 < summary["objects"]["Car"]["boxes"] < 30
    assert summary["nodes"]["root"]["ran"] == 40
    annotated = Clip(output / "clip.annotated.mp4")
    assert (annotated.info.seconds, len(list(annotated))) == (2.0, 40)


def test_thinned_the_film_lasts_as_long_as_the_clip(tmp_path):
    pipeline = fake_pipeline(FakeModel((), ["Car"]))
    plan = Plan(output=tmp_path / "out")
    run = Run(pipeline, Actions(), EventContext(), plan, lambda: False, lambda *_: True, lambda _: None)
    run.over(Recording(film(tmp_path / "clip.mp4", 40), every=15), "clip")
    annotated = Clip(tmp_path / "out" / "clip.annotated.mp4")
    assert [frame.at for frame in annotated] == pytest.approx([0, 0.75, 1.5])
    assert annotated.info.seconds == pytest.approx(2.0)


def test_it_ends_on_a_class_and_says_when(tmp_path):
    run, seen = ran(tmp_path, Plan(stop_on=frozenset(["Car"])))
    assert seen[-1].events
    assert not any(one.events for one in seen[:-1])
    assert run.ended == f"Car seen at {clock(seen[-1].frame.at)}"


def test_it_ends_at_its_limit_which_counts_all_materials(tmp_path):
    run, seen = ran(tmp_path, Plan(limit_sec=1.5))
    assert len(seen) == 30
    run.over(Recording(tmp_path / "clip.mp4"), "again")
    assert len(seen) == 30
    assert run.ended == "limit of 1.5 s reached"


def test_a_frame_that_fails_is_told_and_the_next_is_analysed(tmp_path, caplog):
    def sometimes(image: Image) -> tuple[Detection, ...]:
        if image.mean() > 120:
            raise ValueError("too bright")
        return ()

    run, seen = ran(tmp_path, Plan(), FakeModel(sometimes, ["Car"]))
    failed = sum(one.failure is not None for one in seen)
    assert len(seen) == 40
    assert run.problems == [f"the pipeline failed on {failed} of 40 frames: ValueError: too bright"]
    # Where it failed is told once, not forty times.
    (record,) = [one for one in caplog.records if one.exc_info]
    first = next(one.frame.index for one in seen if one.failure)
    assert record.getMessage() == f"clip: frame {first} failed: ValueError: too bright"
    assert "in sometimes" in caplog.text


def test_failures_with_ever_other_texts_are_told_in_a_few_lines(tmp_path, caplog):
    def always(image: Image) -> tuple[Detection, ...]:
        raise ValueError(f"too bright by {image.mean()}")

    run, _ = ran(tmp_path, Plan(), FakeModel(always, ["Car"]), frames=9)
    assert len(run.problems) == 4
    assert run.problems[-1] == "the pipeline failed in other ways on 6 of 9 frames"
    assert len([one for one in caplog.records if one.exc_info]) == 1


def test_plots_that_fail_do_not_cost_the_summary(tmp_path, monkeypatch):
    def unable(*_: object) -> None:
        raise ValueError("no such font")

    monkeypatch.setattr("siwatsystem.analysis.plots.plots", unable)
    run, _ = ran(tmp_path, Plan(output=tmp_path / "out", video=False), frames=5)
    problem = "plots are missing: ValueError: no such font"
    assert run.problems == [problem]
    assert [path.name for path in run.written] == ["clip.jsonl", "clip.summary.json"]
    assert json.loads((tmp_path / "out" / "clip.summary.json").read_text())["problems"] == [problem]


def test_what_comes_after_the_last_frame_is_counted_and_is_no_frame(tmp_path):
    pipeline = fake_pipeline(FakeModel((), ["Car"]))
    actions = Actions()
    job = Job("redis_publish", "key", {"channel": "c", "message": "m"})
    late: list[tuple[Job, ...]] = []
    seen: list[Analysed] = []
    run = Run(
        *(pipeline, actions, EventContext(), Plan(), lambda: False),
        *(lambda analysed, _: seen.append(analysed) is None, late.append),
    )
    finish = pipeline.finish

    def finish_with_a_job(*arguments: Any) -> None:
        actions.submit(OutboxEvent((job,)))
        finish(*arguments)

    pipeline.finish = finish_with_a_job  # pyright: ignore[reportAttributeAccessIssue]
    run.over(Recording(film(tmp_path / "clip.mp4", 5)), "clip")
    assert (late, len(seen), run.tally.frames) == ([(job,)], 5, 5)
    assert run.tally.actions == {"redis_publish": 1}


def test_being_told_to_stop_keeps_what_is_done(tmp_path):
    pipeline = fake_pipeline(FakeModel((), ["Car"]))
    output = tmp_path / "out"
    run = Run(
        pipeline, Actions(), EventContext(), Plan(output), lambda: True, lambda *_: True, lambda _: None
    )
    run.over(Recording(film(tmp_path / "clip.mp4", 40)), "clip")
    assert run.ended == "stopped"
    assert len((output / "clip.jsonl").read_text().splitlines()) == 1
    assert len(list(Clip(output / "clip.annotated.mp4"))) == 1


def test_frames_come_with_their_real_times(tmp_path):
    _, seen = ran(tmp_path, Plan(), frames=5)
    times = [one.captured_at for one in seen]
    assert np.diff(times) == pytest.approx([0.05] * 4, abs=1e-5)


def test_zones_of_nodes_that_look_at_the_whole_picture():
    zone = [[0, 0], [1, 0], [1, 1]]
    node = {"modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"], "tracking": {"zone": zone}}
    branches = [{**node, "modelId": "cropped", "crop": True}, {**node, "modelId": "whole"}]
    root = parse({"pipeline": {**node, "modelId": "root", "branches": branches}}).pipeline
    assert len(zones_of(root)) == 2
