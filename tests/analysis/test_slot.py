import os
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.app_config import AppConfig
from siwatsystem.analysis.desk import Desk
from siwatsystem.analysis.slot import Slot, Work, lines_path
from siwatsystem.config import Settings
from siwatsystem.deepstream.to_app import EndMark, InterruptAnalysis, PushedFile, PushFile, StartAnalysis
from siwatsystem.detections import Detection
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.spec import parse
from siwatsystem.testing import FakeModel, RecordingOutbox, fake_pipeline
from tests.analysis.scripted_server import lines_of
from tests.analysis.test_run import car_when_bright
from tests.cameras import film
from tests.servers import until

NODE = {"modelId": "root", "modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}


FRAMES = 30


def tracking() -> Pipeline:
    """Follows one car; the one of every second file stands elsewhere."""
    spec = parse({"pipeline": {**NODE, "tracking": {"method": "bytetrack"}}})
    seen = count()

    def car(_: Any) -> tuple[Detection, ...]:
        elsewhere = next(seen) // FRAMES % 2
        return (Detection("Car", 0.9, (40, 25, 60, 45) if elsewhere else (2, 2, 22, 22)),)

    return Pipeline(
        spec, cast(Any, {"root": FakeModel(car, ["Car"])}), RecordingOutbox(), {}, cast(Any, None)
    )


class Room:
    """Slots at work."""

    def __init__(self, folder: Path, pipeline: Pipeline, slots: int = 1, **config: Any) -> None:
        self.told: list[Any] = []
        self.desk = Desk(slots, self.told.append)
        chosen = AppConfig(archive=Path("a.mpta"), **config)
        work = Work(pipeline, "pipeline-1", Actions(), chosen, Settings())
        self.slots = [Slot(number, self.desk, work) for number in range(slots)]
        self.out = folder / "out"
        for slot in self.slots:
            slot.start()

    def feed(self, files: list[Path], camera: int = 3, slot: int = 0) -> None:
        self.desk.start(
            StartAnalysis(
                stream_id=slot,
                camera_id=camera,
                camera_type="fileset",
                path="/videos",
                name="Gate",
                output_dir=str(self.out / str(camera)),
            )
        )
        entries = [PushedFile(file_id=number, file_path=str(path)) for number, path in enumerate(files)]
        push = [*entries, EndMark()]
        self.desk.push(PushFile(stream_id=slot, camera_id=camera, files_count=len(files), files=push))

    def finish(self, cameras: int) -> None:
        until(lambda: sum(one.type == "analysis_complete" for one in self.told) == cameras, 60)
        self.desk.stop()
        assert all(slot.join(10) for slot in self.slots)

    def ids(self, camera: int, name: str) -> set[int]:
        lines = lines_of(self.out / str(camera) / f"{name}.jsonl")
        return {event["id"] for line in lines for event in line["events"]}


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    return [film(tmp_path / f"{name}.mp4", FRAMES) for name in ("a", "b")]


def test_tracks_go_on_from_file_to_file_and_begin_anew_with_each_camera(tmp_path, clips):
    room = Room(tmp_path, tracking())
    room.feed(clips, 3)
    room.feed(clips, 4)
    room.finish(2)
    assert [room.ids(3, "a"), room.ids(3, "b")] == [{1}, {2}]
    assert [room.ids(4, "a"), room.ids(4, "b")] == [{1}, {2}]
    assert [line["frame"] for line in lines_of(room.out / "3" / "b.jsonl")] == list(range(FRAMES))


def test_each_file_stands_alone_where_the_config_says_so(tmp_path, clips):
    room = Room(tmp_path, tracking(), tracking="file")
    room.feed(clips)
    room.finish(1)
    assert [room.ids(3, "a"), room.ids(3, "b")] == [{1}, {1}]


def test_slots_work_side_by_side_on_one_pipeline(tmp_path, clips):
    room = Room(tmp_path, fake_pipeline(FakeModel(car_when_bright, ["Car"])), slots=3)
    for slot in range(3):
        room.feed(clips, camera=slot, slot=slot)
    room.finish(3)
    found = [lines_of(room.out / str(slot) / "b.jsonl") for slot in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == FRAMES
    assert all(slot.speed.read() > 0 for slot in room.slots)


def test_what_attempts_left_in_a_folder_of_results_goes_with_its_next_camera(tmp_path, clips):
    room = Room(tmp_path, fake_pipeline(FakeModel((), ["Car"])))
    old = room.out / "3" / ".gone.jsonl.part"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    os.utime(old, (0, 0))
    room.feed(clips)
    room.finish(1)
    assert sorted(path.name for path in old.parent.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_a_file_that_is_gone_on_with_gets_on_before_its_first_result(tmp_path, clips, monkeypatch):
    room = Room(tmp_path, fake_pipeline(FakeModel((), ["Car"])), resume=True)
    seen: list[tuple[int, bool]] = []
    at_frame = room.desk.at_frame

    def watched(camera: Any, number: int, total: int | None, *, first: bool) -> None:
        at_frame(camera, number, total, first=first)
        (told,) = room.desk.progress()
        seen.append((told.camera.files.processing[0].frame, first))
        if len(seen) in (20, 30):
            room.desk.interrupt(InterruptAnalysis(stream_id=0, camera_id=3))

    monkeypatch.setattr(room.desk, "at_frame", watched)
    for _ in range(2):
        room.told.clear()
        room.feed(clips[:1])
        until(lambda: any(one.type == "analysis_interrupted" for one in room.told), 20)
    assert [number for number, _ in seen] == [*range(1, 21), *range(1, 11)], "left while it is only decoded"
    del seen[:]
    seen += [(0, False)] * 30
    room.feed(clips[:1])
    room.finish(1)
    assert seen[30:] == [(number, number == 21) for number in range(1, FRAMES + 1)]
    assert [line["frame"] for line in lines_of(room.out / "3" / "a.jsonl")] == list(range(FRAMES))


def test_what_is_wrong_names_its_file_once(tmp_path, caplog):
    (tmp_path / "fake.mp4").write_text("no video")
    room = Room(tmp_path, fake_pipeline(FakeModel((), ["Car"])))
    room.feed([tmp_path / "fake.mp4", tmp_path / "gone.mp4"])
    room.finish(1)
    expected = [
        f"{tmp_path}/fake.mp4: is no video that can be read",
        f"{tmp_path}/gone.mp4: No such file or directory",
    ]
    assert [one.error for one in room.told if one.type == "file_done"] == expected
    assert [one.getMessage() for one in caplog.records if one.name == "siwatsystem.analysis.slot"] == expected


def test_a_result_that_could_not_be_written_is_told_to_nobody(tmp_path, clips, monkeypatch):
    room = Room(tmp_path, fake_pipeline(FakeModel((), ["Car"])))
    with monkeypatch.context() as patched:

        def full(file: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        patched.setattr("siwatsystem.analysis.lines.os.write", full)
        room.feed(clips)
        room.finish(1)
    for told, name in zip([one for one in room.told if one.type == "file_done"], "ab", strict=True):
        assert told.processed_file == ""
        assert told.error == f"{room.out}/3/{name}.jsonl was not written: No space left on device"
    assert list((room.out / "3").iterdir()) == []


def test_places_that_the_config_does_not_allow_are_not_used(tmp_path, clips):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    pipeline = fake_pipeline(FakeModel((), ["Car"]))
    room = Room(tmp_path, pipeline, input_folders=(allowed,))
    room.feed([*clips, allowed / ".." / "a.mp4"])
    room.finish(1)
    done = [one for one in room.told if one.type == "file_done"]
    assert all("by the app's config" in str(one.error) for one in done)
    assert len(done) == 3
    room = Room(tmp_path, pipeline, output_folders=(allowed,))
    room.feed(clips)
    room.finish(1)
    assert not room.out.exists()


def test_where_lines_go(tmp_path):
    def path(output: str, folder: str = "", name: str = "") -> Path:
        return lines_path(
            PushedFile(file_id=1, file_path="/v/b.mp4", file_name=name, output_path=output), folder
        )

    assert path("/results/b") == Path("/results/b.jsonl")
    assert path("/results/b.v2") == Path("/results/b.v2.jsonl")
    assert path("/results/b.jsonl") == Path("/results/b.jsonl")
    assert path("/results/") == Path("/results/b.jsonl")
    assert path(str(tmp_path)) == tmp_path / "b.jsonl"
    assert path("", "/out") == Path("/out/b.jsonl")
    assert path("", "/out", "gate.mp4") == Path("/out/gate.jsonl")
    with pytest.raises(ValueError, match="where its results go"):
        path("")


def test_what_the_app_stumbles_over_is_no_end_that_looks_like_success(tmp_path, clips, monkeypatch):
    room = Room(tmp_path, fake_pipeline(FakeModel((), ["Car"])))

    def stumble(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("siwatsystem.analysis.slot.FileRun.over", stumble)
    room.feed(clips)
    (told,) = until(lambda: room.told, 20)
    assert (told.type, told.status) == ("analysis_interrupted", "error")
    assert "No space left" in told.error_reason
    monkeypatch.undo()
    room.feed(clips, camera=4)
    room.finish(1)


def test_no_file_of_a_camera_replaces_the_results_of_another(tmp_path, clips, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    same = film(tmp_path / "other" / "a.mp4", 5)
    room = Room(tmp_path, fake_pipeline(FakeModel((), ["Car"])))
    room.out = Path("out")
    room.feed([clips[0], same])
    room.finish(1)
    first, second = [one for one in room.told if one.type == "file_done"]
    assert first.processed_file == str(tmp_path / "out" / "3" / "a.jsonl")
    assert "another file" in second.error
    assert len(lines_of(tmp_path / "out" / "3" / "a.jsonl")) == FRAMES
