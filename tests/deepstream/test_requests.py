"""Requests and clients' commands about them, in the state core."""

import pytest

from siwatsystem.deepstream.effects import Answer, Drop, Save
from siwatsystem.deepstream.events import Cancel, Exited, Interrupt, Push, Received, Reorder, Start, Terminate
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.rest_analysis import AnalysisRequested
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState, RequestState
from siwatsystem.deepstream.to_app import (
    EndMark,
    InterruptAnalysis,
    PushFile,
    StartAnalysis,
)
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    ProcessingStarted,
    PushAck,
)
from tests.deepstream.by_hand import Bench, all_of, files, one, sent


def test_a_request_from_its_start_to_its_end():
    bench = Bench()
    answer = bench.start()
    assert answer.status == 200
    assert {key: answer.body[key] for key in ("request_id", "instance_id", "stream_id", "status")} == {
        "request_id": "r1",
        "instance_id": "a",
        "stream_id": 0,
        "status": "started",
    }
    (start,) = sent(bench.effects)
    assert isinstance(start, StartAnalysis)
    assert (start.camera_id, start.camera_type, start.path, start.init_file) == (3, "fileset", "/v", "/v/0")
    (push,) = sent(bench.says(AnalysisStarted, status="ok"))
    assert isinstance(push, PushFile)
    assert (push.files_count, push.files[-1]) == (2, EndMark())
    assert bench.request().state is RequestState.QUEUED, "accepted is not running"
    bench.says(ProcessingStarted, file_id=0)
    assert bench.request().state is RequestState.RUNNING
    assert bench.request().files[0].state is FileState.PROCESSING
    bench.says(FileDone, file_id=0, processed_file="/r/0", frames=9, detections=2)
    saved = one(bench.says(FileDone, file_id=1, error="no video"), Save)
    assert (saved.key, saved.record["state"], saved.record["error"]) == ("r1/1", "failed", "no video")
    bench.says(AnalysisComplete)
    assert bench.request().state is RequestState.DONE
    assert (bench.app.slots[0].done, bench.app.slots[0].failed, bench.app.slots[0].load) == (1, 1, 0)


def test_the_first_frame_may_be_told_as_progress():
    bench = Bench()
    bench.start()
    bench.says(AnalysisStarted, status="ok")
    for percent, state in ((0.0, RequestState.QUEUED), (0.5, RequestState.RUNNING)):
        at = FileProcessing(file_id=0, progress_pct=percent, frame=int(percent * 10), total_frames=1000)
        camera = CameraStatus(camera_id=3, status="running", files=CameraFiles(processing=[at]))
        bench.do(Received(1, AnalysisStatus(stream_id=0, camera=camera)))
        assert bench.request().state is state
    slot = bench.control.snapshot()["slots"][0]
    assert (slot["file"]["frame"], slot["file"]["total_frames"]) == (5, 1000)


def test_a_busy_slot_runs_the_next_when_the_one_before_has_ended():
    bench = Bench(streams=1, connected=False)
    bench.ready(1, streams=1)
    bench.start(camera=1)
    second, third = bench.start(camera=2), bench.start(camera=3)
    assert (second.body["status"], second.body["position"]) == ("queued", 1)
    assert third.body["message"] == "the slot is busy: 1 request waits before it"
    bench.says(AnalysisStarted, camera=1, status="ok")
    for number in (0, 1):
        bench.says(FileDone, camera=1, file_id=number)
    (start,) = sent(bench.says(AnalysisComplete, camera=1))
    assert (start.camera_id, start.request_id) == (2, "run:r2#1")


def test_only_a_window_of_files_is_handed_out():
    bench = Bench(limits=Limits(push_window=4))
    bench.start(count=10)
    (push,) = sent(bench.says(AnalysisStarted, status="ok"))
    assert [file.file_id for file in push.files] == [0, 1, 2, 3]
    assert sent(bench.says(FileDone, file_id=0)) == []
    (push,) = sent(bench.says(FileDone, file_id=1))
    assert [file.file_id for file in push.files] == [4, 5]
    for number in range(2, 6):
        (*_, push) = [push, *sent(bench.says(FileDone, file_id=number))]
    assert [getattr(file, "file_id", "eos") for file in push.files] == [8, 9, "eos"]


def test_a_refused_request_has_failed_with_its_reason():
    bench = Bench()
    bench.start()
    bench.start(camera=4, stream_id=0)
    (start,) = sent(bench.says(AnalysisStarted, status="error", error_reason="no such folder"))
    assert start.camera_id == 4
    request = bench.request()
    assert (request.state, request.reason) == (RequestState.FAILED, "refused by the app: no such folder")
    assert {file.state for file in request.files.values()} == {FileState.FAILED}


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1, "2.mp4: no video"), (3, "every file failed, the last one: 2.mp4: no video")],
)
def test_a_request_of_which_every_file_failed_says_why(count: int, reason: str):
    bench = Bench()
    bench.start(count=count)
    bench.says(AnalysisStarted, status="ok")
    for number in range(count):
        error = "2.mp4: no video" if number == count - 1 else "1.mp4: not there"
        bench.says(FileDone, file_id=number, error=error)
    bench.says(AnalysisComplete)
    assert (bench.request().state, bench.request().reason) == (RequestState.FAILED, reason)


def test_files_that_the_app_refuses_fail():
    bench = Bench()
    bench.start()
    bench.says(AnalysisStarted, status="ok")
    (interrupt,) = sent(bench.says(PushAck, status="error", error_reason="disk full"))
    assert isinstance(interrupt, InterruptAnalysis)
    bench.says(AnalysisInterrupted, status="ok")
    assert bench.request().state is RequestState.FAILED
    assert "disk full" in bench.request().reason


def test_the_least_loaded_slot_is_chosen_and_a_named_one_wins():
    bench = Bench()
    places = [bench.start(camera=n, count=c).body["stream_id"] for n, c in ((1, 5), (2, 1), (3, 1), (4, 9))]
    assert places == [0, 1, 1, 1]
    assert bench.start(camera=5, stream_id=1).body["stream_id"] == 1
    assert bench.start(camera=6, instance_id="a", stream_id=7).status == 404
    assert bench.start(camera=6, instance_id="z").status == 404


def test_without_a_connected_app_nothing_is_taken():
    bench = Bench(connected=False)
    answer = bench.start()
    assert (answer.status, answer.body["detail"]) == (503, "no instance is connected")
    assert bench.request() is None
    bench.ready(1)
    assert bench.start(request_id="r1").status == 200, "a refusal is not remembered"


def test_more_files_may_be_pushed_until_the_end_is_told():
    bench = Bench()
    bench.start(count=1, closed=False)
    (push,) = sent(bench.says(AnalysisStarted, status="ok"))
    assert push.files_count == len(push.files) == 1
    assert one(bench.do(Push("p1", "r1", files(1))), Answer).status == 422, "a file_id twice"
    effects = bench.do(Push("p2", "r1", files(2, first=5), end=True))
    assert [getattr(file, "file_id", "eos") for file in sent(effects)[0].files] == [5, 6, "eos"]
    assert bench.do(Push("p2", "r1", files(2, first=5), end=True)) == all_of(effects, Answer)
    assert one(bench.do(Push("p3", "r1", files(1, first=9))), Answer).status == 409


def test_what_is_said_of_one_that_any_app_may_take_is_as_the_description_has_it():
    bench = Bench(limits=Limits(restarts=0, answers=1))
    bench.start()
    bench.do(Exited("a", 1, 1))
    command = Start("r1", 3, "fileset", "/v", files=files(2))
    bench.do(Terminate("forgets r1", "a"))
    answer = AnalysisRequested.model_validate(one(bench.do(command), Answer).body)
    assert (answer.instance_id, answer.stream_id, answer.status) == (None, None, "queued")


def test_a_request_that_never_ends_takes_no_files_without_end():
    bench = Bench(limits=Limits(request_files=4))
    bench.start(count=1, closed=False)
    bench.says(AnalysisStarted, status="ok")
    for number in range(3):
        bench.says(FileDone, file_id=number)
        assert one(bench.do(Push(f"p{number}", "r1", files(1, first=number + 1))), Answer).status == 200
    answer = one(bench.do(Push("p4", "r1", files(1, first=9))), Answer)
    assert (answer.status, answer.body["detail"]) == (
        409,
        "r1 takes 4 files at most: end it, and begin a new one",
    )
    assert one(bench.do(Push("p5", "r1", end=True)), Answer).status == 200


def test_a_command_that_is_sent_again_changes_nothing():
    bench = Bench()
    answer = bench.start()
    command = Start("r1", 3, "fileset", "/v", files=files(2))
    assert bench.do(command) == [answer]
    other = Start("r1", 3, "fileset", "/w", files=files(2))
    assert one(bench.do(other), Answer).status == 409


def test_answers_are_remembered_within_bounds_and_after_a_restart():
    bench = Bench(limits=Limits(answers=2))
    first = bench.start(camera=1)
    bench.start(camera=2)
    assert [drop.key for drop in all_of(bench.effects, Drop)] == ["launch"]
    bench.control = Control.rebuilt(bench.control.export(), bench.now)
    assert bench.do(Start("r1", 1, "fileset", "/v", files=files(2))) == [first]


def test_waiting_requests_are_moved_and_cancelled():
    bench = Bench(streams=1, connected=False)
    bench.ready(1, streams=1)
    for camera in range(1, 6):
        bench.start(camera=camera)
    line = bench.app.slots[0].line
    assert one(bench.do(Reorder("m1", "r5", 2)), Answer).body["position"] == 2
    assert [request.id for request in line] == ["r2", "r5", "r3", "r4"]
    bench.do(Reorder("m2", "r2", 99))
    bench.do(Reorder("m3", "r4", 1))
    assert [request.id for request in line] == ["r4", "r5", "r3", "r2"]
    assert one(bench.do(Reorder("m4", "r1", 1)), Answer).status == 409
    effects = bench.do(Cancel("x1", "r5", "changed my mind"))
    assert (bench.request("r5").state, bench.request("r5").reason) == (
        RequestState.INTERRUPTED,
        "changed my mind",
    )
    assert sent(effects) == []
    assert one(bench.do(Cancel("x2", "r5")), Answer).status == 409
    assert one(bench.do(Cancel("x3", "nobody")), Answer).status == 404
    bench.start(camera=9)
    assert [request.id for request in line] == ["r4", "r3", "r2", "r6"]


def test_moving_again_and_again_between_two_neighbours_stays_right():
    bench = Bench(streams=1, connected=False)
    bench.ready(1, streams=1)
    for camera in range(1, 6):
        bench.start(camera=camera)
    for step in range(200):
        bench.do(Reorder(f"m{step}", "r4" if step % 2 else "r5", 2))
    assert [request.id for request in bench.app.slots[0].line] == ["r2", "r4", "r5", "r3"]


def test_an_interrupt_ends_the_request_not_the_app():
    bench = Bench(limits=Limits(push_window=2))
    bench.start(count=5)
    bench.start(camera=4, stream_id=0)
    bench.says(AnalysisStarted, status="ok")
    bench.says(FileDone, file_id=0)
    effects = bench.do(Interrupt("i", "a", 0, 3, "enough"))
    (message,) = sent(effects)
    assert (message.camera_id, message.reason) == (3, "enough")
    assert one(effects, Answer).body["status"] == "interrupting"
    bench.says(FileDone, file_id=1)
    (start,) = sent(bench.says(AnalysisInterrupted, status="ok"))
    assert start.camera_id == 4
    request = bench.request()
    assert (request.state, request.reason) == (RequestState.INTERRUPTED, "enough")
    assert (request.tally[FileState.DONE], request.tally[FileState.CANCELLED]) == (2, 3)
    assert bench.app.state is AppState.RUNNING
    assert one(bench.do(Interrupt("j", "a", 0, 77)), Answer).status == 404
