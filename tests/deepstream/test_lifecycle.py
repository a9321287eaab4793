"""Apps that die, hang, are stopped or go away, in the state core."""

import pytest

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import Answer, Close, LaunchApp, Save, Send, Signal
from siwatsystem.deepstream.events import (
    ConnectionLost,
    Exited,
    Interrupt,
    Launch,
    Received,
    Reorder,
    Terminate,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState, RequestState
from siwatsystem.deepstream.to_server import (
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    AppTerminated,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    ProcessingStarted,
)
from tests.deepstream.by_hand import CONFIG, Bench, all_of, one, sent


def test_the_files_of_an_app_that_died_wait_again_and_those_that_were_done_are_done():
    bench = Bench()
    bench.start(count=3)
    bench.says(AnalysisStarted, status="ok")
    bench.says(FileDone, file_id=0)
    bench.says(ProcessingStarted, file_id=1)
    bench.do(ConnectionLost(1))
    bench.do(Exited("a", 1, -11, ("loading", "Segmentation fault")))
    assert (bench.app.state, bench.app.reason) == (AppState.BACKOFF, "killed by SIGSEGV")
    assert bench.app.log_tail == ("loading", "Segmentation fault")
    request = bench.request()
    assert (request.state, request.reason) == (RequestState.QUEUED, "its app died: killed by SIGSEGV")
    assert one(bench.after(1), LaunchApp).run == 2
    (_, start) = sent(bench.ready(2))
    assert start.request_id == "run:r1#2"
    (push,) = sent(bench.says(AnalysisStarted, connection=2, status="ok"))
    assert [file.file_id for file in push.files[:-1]] == [1, 2]
    assert not all_of(bench.says(FileDone, connection=2, file_id=0), Save), "told again: counted before"


@pytest.mark.parametrize(("told", "bad"), [("its first frame", 0), ("that it is at it", 1), ("nothing", 0)])
def test_a_file_that_kills_its_app_is_given_up(told: str, bad: int):
    bench = Bench(limits=Limits(file_attempts=2))
    bench.start()
    for run in (1, 2):
        if run > 1:
            bench.after(60)
            bench.ready(run)
        bench.says(AnalysisStarted, connection=run, status="ok")
        if told == "its first frame":
            bench.says(ProcessingStarted, connection=run, file_id=bad)
        elif told == "that it is at it":
            at = CameraFiles(processing=[FileProcessing(file_id=bad)])
            camera = CameraStatus(camera_id=3, status="running", files=at)
            bench.do(Received(run, AnalysisStatus(stream_id=0, camera=camera)))
        bench.do(Exited("a", run, -11))
    assert bench.request().files[bad].state is FileState.FAILED
    assert bench.request().files[bad].error == "given up after 2 attempts: its app died: killed by SIGSEGV"
    assert bench.request().files[1 - bad].state is FileState.WAITING
    assert bench.request().state is RequestState.QUEUED


def test_restarts_wait_longer_each_time_and_end_visibly():
    bench = Bench(limits=Limits(restarts=3, restart_window_sec=100), connected=False)
    waits: list[float] = []
    for run in (1, 2, 3, 4):
        effects = bench.do(Exited("a", run, 1, ("out of memory",)))
        if run < 4:
            due = bench.control.next_due()
            assert due is not None
            waits.append(due - bench.now)
            bench.after(waits[-1])
    assert waits == [1, 2, 4]
    assert bench.app.state is AppState.CRASHED
    assert bench.app.reason == "ended with code 1 (3 restarts in 100 s)"
    assert bench.app.log_tail == ("out of memory",)
    assert bench.control.next_due() is None
    assert one(effects, Save).record["state"] == "crashed"


def test_what_waits_for_an_app_that_is_gone_goes_to_others_unless_it_insists():
    bench = Bench()
    bench.start(camera=1)
    bench.start(camera=2, instance_id="a", stream_id=0)
    bench.start(camera=4, stream_id=1)
    bench.do(Terminate("end", "a"))
    bench.do(Exited("a", 1, 0))
    assert [request.id for request in bench.control.orphans()] == ["r1", "r3"]
    assert bench.request("r2").instance_id == "a"
    bench.do(Launch("b", Spec(CONFIG, 2), "b"))
    (_, *starts) = sent(bench.ready(5, name="b"))
    assert [(start.stream_id, start.camera_id) for start in starts] == [(0, 1), (1, 4)]


def test_a_free_slot_of_another_app_takes_at_once_what_an_app_leaves():
    bench = Bench(limits=Limits(restarts=0))
    bench.start(camera=1)
    bench.do(Launch("b", Spec(CONFIG, 2), "b"))
    bench.ready(5, name="b")
    effects = bench.do(Exited("a", 1, 1))
    assert [(send.connection, send.message.camera_id) for send in all_of(effects, Send)] == [(5, 1)]
    assert bench.request().instance_id == "b"


def test_what_comes_back_goes_before_what_was_moved_before_it():
    bench = Bench()
    for camera in (1, 2, 4):
        bench.start(camera=camera, stream_id=0)
    bench.do(Reorder("m1", "r3", 1))
    bench.do(Interrupt("i", "a", 0, 1))
    bench.says(AnalysisInterrupted, camera=1, status="ok")
    bench.do(Reorder("m2", "r2", 1))
    bench.do(Exited("a", 1, 1))
    assert [request.id for request in bench.app.slots[0].line] == ["r3", "r2"]


def test_a_camera_that_an_app_no_longer_has_is_begun_again():
    bench = Bench()
    bench.start()
    bench.says(AnalysisStarted, status="ok")
    bench.do(ConnectionLost(1))
    bench.ready(2, reconnection=True)
    (start,) = sent(bench.do(Received(2, AnalysisStatus(streams=[]))))
    assert (start.request_id, bench.request().fruitless) == ("run:r1#2", 1)


@pytest.mark.parametrize(
    ("asked", "answered", "reason"),
    [
        ("start", False, "it did not answer start_analysis"),
        ("interrupt", True, "it did not answer interrupt_analysis"),
    ],
)
def test_an_app_that_does_not_answer_is_ended_and_launched_again(asked: str, answered: bool, reason: str):
    bench = Bench()
    bench.start()
    if answered:
        bench.says(AnalysisStarted, status="ok")
        bench.do(Interrupt("i", "a", 0, 3))
    effects = bench.after(Limits().answer_sec)
    assert one(effects, Close).reason == reason, asked
    assert one(effects, Signal).signal == "TERM"
    bench.do(Exited("a", 1, -15))
    assert (bench.app.state, bench.app.reason) == (AppState.BACKOFF, reason)


def test_an_app_that_never_says_that_the_camera_has_ended_is_not_waited_for():
    bench = Bench()
    bench.start(count=1)
    bench.says(AnalysisStarted, status="ok")
    bench.says(FileDone, file_id=0)
    bench.after(Limits().answer_sec)
    assert bench.request().state is RequestState.DONE


@pytest.mark.parametrize(
    ("connected", "steps"),
    [(True, ["TerminateApp", "TERM", "KILL"]), (False, ["TERM", "KILL"])],
)
def test_stopping_is_bounded(connected: bool, steps: list[str]):
    bench = Bench(connected=connected)
    seen: list[str] = []
    effects = bench.do(Terminate("t", "a"))
    assert one(effects, Answer).body["message"] == "the app was asked to end"
    for _ in range(4):
        seen += [type(message).__name__ for message in sent(effects)]
        seen += [effect.signal for effect in all_of(effects, Signal)]
        due = bench.control.next_due()
        if due is None:
            break
        effects = bench.after(due - bench.now)
    assert seen == steps
    assert bench.app.state is AppState.EXITED
    assert bench.app.reason.endswith("its end was not seen after SIGKILL")
    assert bench.now <= 25


def test_an_app_that_ends_as_asked_has_exited():
    bench = Bench()
    bench.start()
    bench.do(Terminate("t", "a", "maintenance"))
    bench.do(Received(1, AppTerminated()))
    bench.do(Exited("a", 1, 0))
    assert (bench.app.state, bench.app.reason) == (AppState.EXITED, "maintenance")
    assert bench.request().state is RequestState.QUEUED
    assert bench.request().fruitless == 0
    assert one(bench.do(Terminate("u", "a")), Answer).body["message"] == "it has ended already (exited)"


def test_a_file_that_kills_its_app_does_not_take_the_others_along():
    bench = Bench()
    bench.start(count=3)
    for run in (1, 2, 3):
        if run > 1:
            bench.after(60)
            bench.ready(run)
        bench.says(AnalysisStarted, connection=run, status="ok")
        bench.says(ProcessingStarted, connection=run, file_id=0)
        bench.do(Exited("a", run, -11))
    states = [file.state for file in bench.request().files.values()]
    assert states == [FileState.FAILED, FileState.WAITING, FileState.WAITING]
    assert bench.request().state is RequestState.QUEUED


@pytest.mark.parametrize("word", [None, "no GPU"], ids=["it dies", "it gives up"])
def test_a_request_of_which_file_after_file_is_given_up_is_given_up_too(word: str | None):
    bench = Bench()
    bench.start(count=9)
    connection = 1

    def dies(times: int = 3) -> None:
        nonlocal connection
        for _ in range(times):
            bench.says(AnalysisStarted, connection=connection, status="ok")
            if word is not None:
                reason = {"status": "error", "error_reason": word, "request_id": bench.request().run}
                bench.says(AnalysisInterrupted, connection=connection, **reason)
                continue
            bench.do(Exited("a", connection, -9))
            bench.control = Control.rebuilt(bench.control.export(), bench.now)
            bench.after(600)
            connection += 1
            bench.ready(connection)

    dies(6)
    bench.says(AnalysisStarted, connection=connection, status="ok")
    bench.says(FileDone, connection=connection, file_id=2)
    dies(8)
    assert bench.request().state is RequestState.QUEUED
    dies(1)
    assert bench.request().state is RequestState.FAILED
    text = "given up after 3 files, one after the other, that no app got on with: "
    assert bench.request().reason.startswith(text)
    assert [file.state is FileState.DONE for file in bench.request().files.values()].count(True) == 1


def test_records_of_an_earlier_release_are_read_and_its_own_by_it():
    bench = Bench()
    bench.start()
    state = bench.control.export()
    assert "given_up" not in state["request"]["r1"], "a key there that it does not know stops its start"
    del state["app"]["a"]["blamed"], state["app"]["a"]["tells_frames"]
    bench.control = Control.rebuilt(state, bench.now)
    assert (bench.app.state, bench.request().given_up) == (AppState.RUNNING, 0)


def test_who_is_given_up_and_what_waits_for_a_launch_is_told():
    bench = Bench(limits=Limits(restarts=0))
    assert bench.control.stranded() == []
    bench.start()
    bench.start(camera=4, instance_id="a")
    bench.start(camera=5, instance_id="a", stream_id=0)
    bench.do(Exited("a", 1, 1, ("out of memory",)))
    assert bench.control.stranded() == [
        "a has crashed: ended with code 1",
        "a is not launched: requests that wait for it: 2",
        "no app is launched: requests that wait for any: 1",
    ]
    assert bench.request("r3").reason == "it waits for a to be launched again"
    bench.do(Launch("again", Spec(CONFIG, 2), "a"))
    assert bench.control.stranded() == []
