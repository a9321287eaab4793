"""An app that hangs at a file is noticed, one that is only slow or says little is left alone."""

from typing import Any

import pytest

from siwatsystem.deepstream.effects import Close, Signal
from siwatsystem.deepstream.events import ConnectionLost, Exited, Interrupt, Push, Received
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState, RequestState
from siwatsystem.deepstream.to_app import InterruptAnalysis, QueryAnalysisStatus
from siwatsystem.deepstream.to_server import (
    AnalysisStarted,
    AnalysisStatus,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    ProcessingStarted,
    StreamStatus,
)
from tests.deepstream.by_hand import Bench, all_of, files, one, sent

LIMIT = Limits().progress_sec
ANSWER = Limits().answer_sec


def begun(**fields: Any) -> Bench:
    """Camera 3 in slot 0, its two files with the app."""
    bench = Bench()
    bench.start(**fields)
    bench.says(AnalysisStarted, status="ok")
    return bench


def told(frame: int | None, *, file: int = 0, stream: int = 0, camera: int = 3) -> StreamStatus:
    at = FileProcessing(file_id=file, progress_pct=0.0, frame=frame)
    rest = CameraFiles(processing=[at])
    cameras = [CameraStatus(camera_id=camera, status="running", files=rest)]
    return StreamStatus(stream_id=stream, status="running", cameras=cameras)


def at_frame(bench: Bench, *streams: StreamStatus, connection: int = 1) -> list[Any]:
    """The app tells what all its slots do."""
    return bench.do(Received(connection, AnalysisStatus(streams=list(streams))))


def asked(effects: list[Any]) -> bool:
    return any(isinstance(message, QueryAnalysisStatus) for message in sent(effects))


@pytest.mark.parametrize("frame", [0, 5], ids=["before its first frame", "within a file"])
def test_an_app_that_hangs_is_asked_and_then_ended(frame: int):
    bench = begun()
    at_frame(bench, told(frame))
    assert not sent(bench.after(LIMIT - 1))
    effects = bench.after(1)
    assert asked(effects)
    assert not all_of(effects, Close)
    at_frame(bench, told(frame))
    effects = bench.after(ANSWER)
    reason = "it got no further with file 0 of request r1 for 1800 s"
    assert one(effects, Signal).signal == "TERM"
    assert one(effects, Close).reason == reason
    bench.do(Exited("a", 1, -15))
    assert (bench.app.state, bench.app.reason) == (AppState.BACKOFF, reason)
    assert (bench.request().state, bench.request().reason) == (RequestState.QUEUED, f"its app died: {reason}")


@pytest.mark.parametrize("frame", [0, 5], ids=["before its first frame", "within the file"])
def test_a_file_at_which_every_app_hangs_is_given_up(frame: int):
    bench = begun()
    for run in (1, 2, 3):
        if run > 1:
            bench.after(600)
            bench.ready(run)
            bench.says(AnalysisStarted, connection=run, status="ok")
        at_frame(bench, told(frame), connection=run)
        bench.after(LIMIT)
        at_frame(bench, told(frame), connection=run)
        bench.after(ANSWER)
        bench.do(Exited("a", run, -9))
    assert bench.request().files[0].state is FileState.FAILED
    assert "given up after 3 attempts: its app died: it got no further" in bench.request().files[0].error
    assert bench.request().files[1].state is FileState.WAITING
    assert bench.request().state is RequestState.QUEUED


@pytest.mark.parametrize("restarted", [False, True], ids=["", "though the server was restarted"])
def test_what_else_an_app_did_when_it_hung_is_not_to_blame(restarted: bool):
    bench = begun()
    bench.start(camera=4, stream_id=1)
    bench.says(AnalysisStarted, camera=4, stream=1, status="ok")
    at_frame(bench, told(5), told(5, stream=1, camera=4))
    bench.after(LIMIT - 60)
    at_frame(bench, told(5), told(90, stream=1, camera=4))
    bench.after(60)
    at_frame(bench, told(5), told(91, stream=1, camera=4))
    bench.after(ANSWER)
    assert bench.app.state is AppState.STOPPING
    if restarted:
        bench.control = Control.rebuilt(bench.control.export(), bench.now)
    bench.do(Exited("a", 1, -15))
    assert [bench.request(name).files[0].attempts for name in ("r1", "r2")] == [1, 0]
    assert [bench.request(name).fruitless for name in ("r1", "r2")] == [1, 0]
    bench.after(1)
    bench.ready(2)
    bench.says(AnalysisStarted, connection=2, status="ok")
    if not restarted:  # what hung is tried alone; a new server does not know of that
        bench.after(Limits().trial_sec)
    bench.says(AnalysisStarted, camera=4, stream=1, connection=2, status="ok")
    bench.says(ProcessingStarted, camera=4, stream=1, connection=2, file_id=0)
    bench.do(Exited("a", 2, -11))
    assert bench.request("r2").files[0].attempts == 1, "of another death nobody knows who caused it"


def test_a_device_that_hangs_is_every_slot_s_fault():
    bench = begun()
    bench.start(camera=4, stream_id=1)
    bench.says(AnalysisStarted, camera=4, stream=1, status="ok")
    at_frame(bench, told(5), told(7, stream=1, camera=4))
    bench.after(LIMIT)
    at_frame(bench, told(5), told(7, stream=1, camera=4))
    bench.after(ANSWER)
    bench.do(Exited("a", 1, -15))
    assert [bench.request(name).files[0].attempts for name in ("r1", "r2")] == [1, 1]


def test_a_slow_app_is_left_alone():
    bench = begun()
    for frame in range(1, 6):
        at_frame(bench, told(frame))
        assert not asked(bench.after(LIMIT - 1)), frame
    assert bench.app.state is AppState.RUNNING


def test_an_app_that_gets_on_while_it_is_asked_is_left_alone():
    bench = begun()
    at_frame(bench, told(1))
    assert asked(bench.after(LIMIT))
    at_frame(bench, told(2))
    assert not all_of(bench.after(ANSWER), Close)
    assert not asked(bench.after(LIMIT - ANSWER - 1))
    assert asked(bench.after(1))


def test_an_app_that_tells_no_frames_is_only_asked():
    bench = begun()
    bench.says(ProcessingStarted, file_id=0)
    for _ in range(4):
        assert asked(bench.after(LIMIT))
        at_frame(bench, told(None))
        assert not bench.after(ANSWER)
    bench.says(FileDone, file_id=0)
    assert bench.app.state is AppState.RUNNING
    assert bench.request().files[0].attempts == 0


def test_an_app_that_has_nothing_in_hand_is_not_late():
    bench = begun(count=1, closed=False)
    at_frame(bench, told(5))
    bench.says(FileDone, file_id=0)
    for _ in range(3):
        assert not bench.after(LIMIT)
    bench.do(Push("p", "r1", files(1, first=1)))
    assert not asked(bench.after(LIMIT - 1)), "its time begins with the file"
    assert asked(bench.after(1))
    assert bench.request().state is RequestState.RUNNING


def test_a_connection_that_comes_and_goes_hides_no_file_that_hangs():
    bench = begun()
    at_frame(bench, told(5))
    for connection in range(2, 8):
        bench.after(LIMIT / 4)
        bench.do(ConnectionLost(connection - 1))
        bench.ready(connection, reconnection=True)
        at_frame(bench, told(5), connection=connection)
        if bench.control.next_due() == bench.now + ANSWER:
            break
    assert asked(bench.after(0)) or bench.now >= LIMIT
    at_frame(bench, told(5), connection=connection)
    bench.after(ANSWER)
    assert bench.app.state is AppState.STOPPING


def test_after_a_restart_of_the_server_an_app_has_its_time_again():
    bench = begun()
    at_frame(bench, told(5))
    bench.now = LIMIT - 1
    bench.control = Control.rebuilt(bench.control.export(), bench.now)
    bench.ready(2, reconnection=True)
    at_frame(bench, told(5), connection=2)
    assert not asked(bench.after(LIMIT - 1))
    assert asked(bench.after(1))


def test_an_interrupt_while_the_app_is_asked_is_no_answer_that_is_missing():
    bench = begun()
    at_frame(bench, told(5))
    bench.after(LIMIT)
    assert not sent(bench.do(Interrupt("i", "a", 0, 3)))
    bench.after(ANSWER - 1)
    (interrupt,) = sent(at_frame(bench, told(5)))
    assert isinstance(interrupt, InterruptAnalysis)
    bench.after(ANSWER - 1)
    assert bench.app.state is AppState.RUNNING
    bench.after(1)
    assert bench.app.reason == "it did not answer interrupt_analysis"
