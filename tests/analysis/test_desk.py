import threading
from typing import Any

from siwatsystem.analysis.desk import MAX_FILES, Camera, Desk
from siwatsystem.deepstream.fields import MAX_STREAMS
from siwatsystem.deepstream.messages import app_message, encode
from siwatsystem.deepstream.to_app import (
    EndMark,
    InterruptAnalysis,
    PushedFile,
    PushFile,
    QueryAnalysisStatus,
    StartAnalysis,
)
from siwatsystem.sections import WebSocketSettings


class Slots:
    """A desk with what it told."""

    def __init__(self, count: int = 2) -> None:
        self.told: list[Any] = []
        self.desk = Desk(count, self.told.append)

    def start(self, camera: int = 3, slot: int = 0, run: str = "run:a#1", kind: Any = "fileset") -> Any:
        asked = StartAnalysis(
            request_id=run, stream_id=slot, camera_id=camera, camera_type=kind, path="/videos", name="Gate"
        )
        answer = self.desk.start(asked)
        assert app_message(encode(answer)) == answer
        return answer

    def push(self, *files: int, camera: int = 3, slot: int = 0, end: bool = False) -> Any:
        entries: list[Any] = [PushedFile(file_id=one, file_path=f"/videos/{one}.mp4") for one in files]
        entries += [EndMark()] if end else []
        asked = PushFile(stream_id=slot, camera_id=camera, files_count=len(files), files=entries)
        return self.desk.push(asked)

    def camera(self, slot: int = 0) -> Camera:
        camera = self.desk.next_camera(slot)
        assert camera is not None
        return camera

    def work(self, camera: Camera) -> list[int]:
        """Do all its files, as a slot's thread does."""
        done: list[int] = []
        while (file := self.desk.next_file(camera)) is not None:
            self.desk.at_frame(camera, 1, 2, first=True)
            self.desk.file_done(camera, f"/out/{file.file_id}.jsonl", 2, 1)
            done.append(file.file_id)
        self.desk.camera_done(camera)
        return done

    @property
    def cameras(self) -> Any:
        """Of the first slot, as a server is told."""
        status = self.desk.status(QueryAnalysisStatus(stream_id=0))
        assert app_message(encode(status)) == status
        assert status.stream is not None
        return status.stream.cameras

    @property
    def kinds(self) -> list[str]:
        return [one.type for one in self.told]


def test_files_of_a_camera_go_in_order_and_the_end_mark_ends_it():
    slots = Slots()
    assert slots.start().status == "ok"
    assert slots.push(5, 4)[0].status == "ok"
    slots.push(6, end=True)
    assert slots.work(slots.camera()) == [5, 4, 6]
    assert slots.kinds == ["processing_started", "file_done"] * 3 + ["analysis_complete"]
    assert {one.request_id for one in slots.told} == {"run:a#1"}
    assert slots.told[-1].processed_count == 3
    assert all(app_message(encode(one)) == one for one in slots.told)


def test_a_busy_slot_queues_the_next_camera():
    slots = Slots()
    slots.start(3)
    assert slots.start(4, run="run:b#1").status == "queued"
    assert slots.start(5, slot=1).status == "ok"
    slots.push(1, camera=4, end=True)
    slots.push(2, camera=3, end=True)
    status = slots.desk.status(QueryAnalysisStatus())
    assert status.streams is not None
    assert [(one.camera_id, one.status) for one in status.streams[0].cameras] == [
        (3, "running"),
        (4, "queued"),
    ]
    assert slots.work(slots.camera()) == [2]
    assert slots.work(slots.camera()) == [1]


def test_what_is_done_is_told_again_and_what_is_there_is_not_taken_twice():
    slots = Slots()
    slots.start()
    slots.push(1, 2)
    camera = slots.camera()
    slots.desk.next_file(camera)
    slots.desk.file_done(camera, "/out/1.jsonl", 7, 1)
    slots.desk.next_file(camera)
    ack, again = slots.push(1, 2, 3, end=True)
    assert ack.status == "ok"
    assert [one.file_id for one in again] == [1]
    assert again[0].frames == 7
    slots.desk.file_done(camera, "/out/2.jsonl", 7, 1)
    assert slots.work(camera) == [3]


def test_an_interrupt_ends_what_runs_after_its_frame_and_what_waits_at_once():
    slots = Slots()
    slots.start(3)
    slots.start(4, run="run:b#1")
    slots.push(1, 2, end=True)
    camera = slots.camera()
    slots.desk.next_file(camera)
    asked = InterruptAnalysis(request_id="i2", stream_id=0, camera_id=4)
    answers = [slots.desk.interrupt(asked) for _ in range(2)]
    assert [answer and answer.status for answer in answers] == ["ok", "error"]
    assert slots.desk.interrupt(InterruptAnalysis(request_id="i1", stream_id=0, camera_id=3)) is None
    assert slots.desk.is_ended(camera)
    assert slots.desk.next_file(camera) is None
    slots.desk.camera_done(camera)
    (told,) = slots.told
    assert (told.type, told.request_id, told.status) == ("analysis_interrupted", "i1", "ok")
    assert slots.start().status == "ok"


def test_a_camera_begun_again_while_its_last_run_ends_waits_behind_it_and_is_the_one_that_is_told():
    slots = Slots()
    slots.start(3)
    slots.push(1, 2)
    camera = slots.camera()
    slots.desk.next_file(camera)
    slots.desk.interrupt(InterruptAnalysis(request_id="i1", stream_id=0, camera_id=3))
    assert [(one.camera_id, one.status) for one in slots.cameras] == [(3, "running")]
    assert slots.start(3, run="run:b#1").status == "queued"
    assert slots.push(7, end=True)[0].status == "ok"
    (told,) = slots.cameras
    # A server that saw both would end the one it does not know, by the id that both have.
    assert (told.status, [file.file_id for file in told.files.queued]) == ("queued", [7])
    slots.desk.camera_done(camera)
    assert slots.work(slots.camera()) == [7]


def test_a_live_camera_runs_from_its_first_frame_and_says_what_is_wrong():
    slots = Slots()
    assert slots.start(kind="videostream").status == "ok"
    camera = slots.camera()
    assert [one.status for one in slots.cameras] == ["queued"]
    slots.desk.in_trouble(camera, "nobody answers")
    (told,) = slots.desk.progress()
    assert told.camera is not None
    assert (told.camera.status, told.camera.reason) == ("queued", "nobody answers")
    slots.desk.at_live(camera, 1)
    slots.desk.in_trouble(camera, None)
    assert [(one.status, one.reason) for one in slots.cameras] == [("running", None)]
    assert not slots.desk.is_ended(camera)
    slots.push(end=True)
    assert slots.desk.is_ended(camera)
    slots.desk.camera_done(camera)
    assert slots.kinds == ["analysis_complete"]


def test_what_cannot_be_is_refused_with_its_reason():
    slots = Slots()
    assert "2 slots" in slots.start(slot=2).error_reason
    assert "no such camera" in slots.push(1)[0].error_reason
    slots.start()
    for part in range(MAX_FILES // 10_000):
        assert slots.push(*range(10_000 * part, 10_000 * (part + 1)))[0].status == "ok"
    assert str(MAX_FILES) in slots.push(-1)[0].error_reason


def test_threads_that_wait_are_woken_when_the_app_ends():
    slots = Slots()
    slots.start(3)
    slots.start(4)
    ended: list[object] = []
    camera = slots.camera()
    waiting = [
        threading.Thread(target=lambda: ended.append(slots.desk.next_file(camera))),
        threading.Thread(target=lambda: ended.append(slots.desk.next_camera(1))),
    ]
    for thread in waiting:
        thread.start()
    assert slots.desk.stop() == 2
    for thread in waiting:
        thread.join(10)
    assert ended == [None, None]
    slots.desk.camera_done(camera)
    assert slots.told == []


def test_progress_counts_what_waits_and_a_status_names_it():
    slots = Slots()
    slots.start()
    slots.push(1, 2, 3)
    camera = slots.camera()
    slots.desk.next_file(camera)
    slots.desk.at_frame(camera, 30, 120, first=True)
    (told,) = slots.desk.progress()
    assert told.camera is not None
    assert (told.camera.files.queued_count, told.camera.files.queued) == (2, [])
    (at,) = told.camera.files.processing
    assert (at.frame, at.total_frames, at.progress_pct) == (30, 120, 25.0)
    asked = slots.desk.status(QueryAnalysisStatus(request_id="q", stream_id=0, camera_id=3))
    assert asked.camera is not None
    assert [one.file_id for one in asked.camera.files.queued] == [2, 3]


def test_a_camera_that_the_app_stumbled_over_is_told_as_an_error_and_its_files_wait_no_more():
    slots = Slots()
    slots.start()
    slots.push(1, 2, 3)
    camera = slots.camera()
    slots.desk.next_file(camera)
    slots.desk.camera_done(camera, "OSError: no space")
    (told,) = slots.told
    assert (told.type, told.status, told.error_reason) == (
        "analysis_interrupted",
        "error",
        "OSError: no space",
    )
    assert told.request_id == "run:a#1"
    slots.start(4, run="run:b#1")
    for first in range(0, MAX_FILES, 10_000):
        assert slots.push(*range(first, first + 10_000), camera=4)[0].status == "ok"


def test_the_status_of_the_largest_app_is_no_larger_than_a_server_reads():
    slots = Slots(MAX_STREAMS)
    for slot in range(MAX_STREAMS):
        slots.start(slot=slot)
        entries: list[Any] = [
            PushedFile(file_id=64 * slot + number, file_path="/v/1.mp4", file_name=f"{number:080}.mp4")
            for number in range(64)
        ]
        slots.desk.push(PushFile(stream_id=slot, camera_id=3, files_count=64, files=entries))
    status = slots.desk.status(QueryAnalysisStatus())
    assert len(encode(status)) < WebSocketSettings().max_message_kb * 1024
    told = [file.file_id for one in status.streams or () for file in one.cameras[0].files.queued]
    assert told == list(range(64 * MAX_STREAMS))
    slots.desk.interrupt(InterruptAnalysis(stream_id=0, camera_id=3))
    (first, *_) = slots.desk.status(QueryAnalysisStatus(stream_id=1)).stream.cameras  # type: ignore[union-attr]
    assert first.files.queued[0].file_name.endswith("0.mp4")
