"""The rules of the state core, each by value."""

import time
from typing import Any

import pytest

from siwatsystem.deepstream.admission import Capacity
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import Answer, Close, Drop, LaunchApp, Save, Send, Signal
from siwatsystem.deepstream.events import (
    Cancel,
    CleanUp,
    ConnectionLost,
    Exited,
    FileGiven,
    Interrupt,
    Launch,
    Launched,
    LaunchFailed,
    Push,
    Received,
    Register,
    Reorder,
    Start,
    Stop,
    Terminate,
    TimePassed,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState, RequestState, Stage
from siwatsystem.deepstream.to_app import (
    EndMark,
    ExecuteAck,
    InterruptAnalysis,
    PushFile,
    QueryAnalysisStatus,
    ReconnectionAck,
    StartAnalysis,
    TerminateApp,
)
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    AppReady,
    AppTerminated,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    MetricsResponse,
    ProcessingStarted,
    PushAck,
    StreamStatus,
)

CONFIG = "/configs/cars.txt"


class Bench:
    """A state core with app `a` on connection 1, driven by hand."""

    def __init__(self, streams: int = 2, limits: Limits | None = None, *, connected: bool = True) -> None:
        self.control = Control(limits)
        self.now = 0.0
        self.commands = 0
        self.do(Launch("launch", Spec(CONFIG, streams), "a"))
        self.do(Launched("a", 1, 4711))
        if connected:
            self.ready(1)

    def do(self, event: Any) -> list[Any]:
        return self.control.handle(event, self.now)

    def after(self, seconds: float) -> list[Any]:
        self.now += seconds
        return self.do(TimePassed())

    def ready(self, connection: int, name: str = "a", streams: int = 2, **fields: Any) -> list[Any]:
        message = AppReady(instance_id=name, config_path=CONFIG, streams_count=streams, **fields)
        return self.do(Received(connection, message))

    def says(
        self, kind: Any, camera: int = 3, stream: int = 0, connection: int = 1, **fields: Any
    ) -> list[Any]:
        return self.do(Received(connection, kind(stream_id=stream, camera_id=camera, **fields)))

    def start(self, camera: int = 3, count: int = 2, **fields: Any) -> Answer:
        self.commands += 1
        fields = {"request_id": f"r{self.commands}", "kind": "fileset", "path": "/v", **fields}
        fields.setdefault("files", files(count))
        self.effects = self.do(Start(camera_id=camera, **fields))
        return one(self.effects, Answer)

    def request(self, request_id: str = "r1") -> Any:
        return self.control.request(request_id)

    @property
    def app(self) -> Any:
        return self.control.app("a")


def files(count: int, first: int = 0) -> tuple[FileGiven, ...]:
    return tuple(FileGiven(number, f"/v/{number}") for number in range(first, first + count))


def all_of(effects: list[Any], kind: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def one(effects: list[Any], kind: type) -> Any:
    (found,) = all_of(effects, kind)
    return found


def sent(effects: list[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


# --- launching and the handshake -------------------------------------------------------------


def test_a_launch_is_answered_once_the_process_is_there():
    control = Control()
    effects = control.handle(Launch("l", Spec(CONFIG, 2), None, "stream_1_ab"), 0)
    assert one(effects, LaunchApp) == LaunchApp("stream_1_ab", 1, Spec(CONFIG, 2))
    assert not all_of(effects, Answer)
    assert not all_of(control.handle(Launch("l", Spec(CONFIG, 2), None, "stream_2_cd"), 0), LaunchApp)
    answer = one(control.handle(Launched("stream_1_ab", 1, 4711, log_path="/l"), 1), Answer)
    assert (answer.request_id, answer.status) == ("l", 200)
    assert answer.body["host_pid"] == 4711
    assert answer.body["instance_id"] == "stream_1_ab"
    again = control.handle(Launch("l", Spec(CONFIG, 2), None, "stream_3_ef"), 2)
    assert again == [answer]
    assert one(control.handle(Launch("l", Spec("/other"), None, "x"), 3), Answer).status == 409


def test_a_launch_that_fails_is_told_with_its_status_and_may_be_tried_again():
    control = Control()
    control.handle(Launch("l", Spec(CONFIG), "a"), 0)
    answer = one(control.handle(LaunchFailed("a", 1, "container x does not run", 409), 1), Answer)
    assert (answer.status, answer.body["success"]) == (409, False)
    assert answer.body["detail"] == "container x does not run"
    app = control.app("a")
    assert app is not None
    assert (app.state, app.reason) == (AppState.CRASHED, "could not be launched: container x does not run")
    assert one(control.handle(Launch("l", Spec(CONFIG), "a"), 2), LaunchApp).run == 2


@pytest.mark.parametrize(
    ("ready", "code"),
    [
        ({"instance_id": "b"}, "UNKNOWN_INSTANCE"),
        ({"config_path": "/configs/vans.txt"}, "CONFIG_MISMATCH"),
        ({"streams_count": 3}, "STREAMS_COUNT_MISMATCH"),
    ],
)
def test_a_wrong_handshake_is_answered_and_closed(ready: dict[str, Any], code: str):
    bench = Bench(connected=False)
    fields = {"instance_id": "a", "config_path": CONFIG, "streams_count": 2, "request_id": "q", **ready}
    effects = bench.do(Received(1, AppReady(**fields)))
    ack = one(effects, Send).message
    assert isinstance(ack, ExecuteAck)
    assert (ack.status, ack.error_code, ack.request_id) == ("error", code, "q")
    assert effects[-1] == Close(1, 1008, ack.error_message or "")
    assert bench.app.state is AppState.STARTING


def test_a_handshake_comes_first():
    bench = Bench(connected=False)
    assert one(bench.says(FileDone, file_id=1), Close) == Close(1, 1008, "app_ready comes first")


def test_a_registered_app_may_connect_and_says_how_many_slots_it_has():
    control = Control()
    assert one(control.handle(Register("g", "stream_alpha", Spec(CONFIG)), 0), Answer).status == 200
    ready = AppReady(instance_id="stream_alpha", config_path="/configs/./cars.txt", streams_count=4)
    (ack,) = sent(control.handle(Received(1, ready), 1))
    assert (ack.status, ack.config_verified, ack.streams_count_verified) == ("ok", True, True)
    app = control.app("stream_alpha")
    assert app is not None
    assert (app.state, len(app.slots)) == (AppState.RUNNING, 4)


@pytest.mark.parametrize(
    ("spec", "status", "reason"),
    [
        (Spec(CONFIG, 2, (7,)), 422, "there is no GPU 7 (there: 0, 1)"),
        (Spec(CONFIG, 3, (0,)), 503, "2 of 4 slots of GPU 0 are taken, 3 more are too many"),
        (Spec(CONFIG, 20), 503, "2 of 20 slots are taken, 20 more are too many"),
    ],
)
def test_room_is_asked_for_before_anything_is_launched(spec: Spec, status: int, reason: str):
    control = Control(capacity=Capacity(max_apps=2, max_slots=20, gpus={0: 4, 1: 4}))
    control.handle(Launch("1", Spec(CONFIG, 2, (0,)), "a"), 0)
    effects = control.handle(Launch("2", spec, "b"), 0)
    (answer,) = effects
    assert (answer.status, answer.body["detail"]) == (status, reason)
    assert one(control.handle(Launch("3", Spec(CONFIG, 2, (0, 1)), "b"), 0), LaunchApp)
    assert control.handle(Launch("4", Spec(CONFIG, 1), "c"), 0)[0].body["message"].startswith("2 apps live")


# --- one request -----------------------------------------------------------------------------


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
    assert third.body["message"] == "the slot is busy: 1 requests wait before it"
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


# --- commands --------------------------------------------------------------------------------


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


# --- apps that die, hang, or go away ---------------------------------------------------------


def test_the_files_of_an_app_that_died_wait_again_and_those_that_were_done_are_done():
    bench = Bench()
    bench.start(count=3)
    bench.says(AnalysisStarted, status="ok")
    bench.says(FileDone, file_id=0)
    bench.says(ProcessingStarted, file_id=1)
    bench.do(ConnectionLost(1))
    bench.do(Exited("a", 1, -11, ("loading", "Segmentation fault")))
    assert (bench.app.state, bench.app.reason) == (AppState.BACKOFF, "ended with code -11")
    assert bench.app.log_tail == ("loading", "Segmentation fault")
    request = bench.request()
    assert (request.state, request.reason) == (RequestState.QUEUED, "its app died: ended with code -11")
    assert one(bench.after(1), LaunchApp).run == 2
    (_, start) = sent(bench.ready(2))
    assert start.request_id == "run:r1#2"
    (push,) = sent(bench.says(AnalysisStarted, connection=2, status="ok"))
    assert [file.file_id for file in push.files[:-1]] == [1, 2]
    assert not all_of(bench.says(FileDone, connection=2, file_id=0), Save), "told again: counted before"


def test_a_file_that_kills_its_app_is_given_up():
    bench = Bench(limits=Limits(file_attempts=2))
    bench.start()
    for run in (1, 2):
        if run > 1:
            bench.after(60)
            bench.ready(run)
        bench.says(AnalysisStarted, connection=run, status="ok")
        bench.says(ProcessingStarted, connection=run, file_id=0)
        bench.do(Exited("a", run, -11))
    assert bench.request().files[0].state is FileState.FAILED
    assert bench.request().files[0].error == "given up after 2 attempts: its app died: ended with code -11"
    assert bench.request().files[1].state is FileState.WAITING


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
    bench = Bench(limits=Limits(restarts=0))
    bench.start(camera=1)
    bench.start(camera=2, instance_id="a", stream_id=0)
    bench.start(camera=4, stream_id=1)
    bench.do(Exited("a", 1, 1))
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


STATES = {
    "starting": AppState.STARTING,
    "running": AppState.RUNNING,
    "away": AppState.RUNNING,
    "stopping": AppState.STOPPING,
    "backoff": AppState.BACKOFF,
    "exited": AppState.EXITED,
    "crashed": AppState.CRASHED,
}


def bench_in(state: str) -> Bench:
    limits = Limits(restarts=0) if state == "crashed" else None
    bench = Bench(limits=limits, connected=state in ("running", "away", "stopping"))
    if state == "away":
        bench.do(ConnectionLost(1))
    elif state in ("stopping", "exited"):
        bench.do(Terminate("t", "a"))
        if state == "exited":
            bench.do(Exited("a", 1, 0))
    elif state in ("backoff", "crashed"):
        bench.do(Exited("a", 1, 1))
    assert bench.app.state is STATES[state]
    return bench


TRANSITIONS = {
    "app_ready": {
        "starting": "running",
        "running": "running",
        "away": "running",
        "stopping": "stopping",
        "backoff": "running",
        "exited": "running",
        "crashed": "running",
    },
    "exit 0": {
        "starting": "backoff",
        "running": "exited",
        "away": "exited",
        "stopping": "exited",
        "backoff": "backoff",
        "exited": "exited",
        "crashed": "crashed",
    },
    "exit 1": {
        "starting": "backoff",
        "running": "backoff",
        "away": "backoff",
        "stopping": "exited",
        "backoff": "backoff",
        "exited": "exited",
        "crashed": "crashed",
    },
    "terminate": {
        "starting": "stopping",
        "running": "stopping",
        "away": "stopping",
        "stopping": "stopping",
        "backoff": "exited",
        "exited": "exited",
        "crashed": "crashed",
    },
    "time": {
        "starting": "stopping",
        "running": "running",
        "away": "stopping",
        "stopping": "stopping",
        "backoff": "starting",
        "exited": "exited",
        "crashed": "crashed",
    },
    "connection lost": {
        "running": "running",
        "stopping": "stopping",
    },
    "launch": {
        "exited": "starting",
        "crashed": "starting",
        "starting": "starting",
        "running": "running",
        "stopping": "stopping",
        "backoff": "backoff",
    },
    "server restart": {state: STATES[state].value for state in STATES},
}


@pytest.mark.parametrize(
    ("event", "before", "after"),
    [(event, before, after) for event, table in TRANSITIONS.items() for before, after in table.items()],
)
def test_what_becomes_of_an_app(event: str, before: str, after: str):
    bench = bench_in(before)
    match event:
        case "app_ready":
            bench.ready(2)
        case "exit 0":
            bench.do(Exited("a", 1, 0))
        case "exit 1":
            bench.do(Exited("a", 1, 1))
        case "terminate":
            bench.do(Terminate("t2", "a"))
        case "connection lost":
            bench.do(ConnectionLost(1))
        case "launch":
            bench.do(Launch("l2", Spec(CONFIG, 2), "a"))
        case "server restart":
            bench.control = Control.rebuilt(bench.control.export(), bench.now)
        case _:
            due = bench.control.next_due()
            bench.after(0 if due is None else due - bench.now)
    assert bench.app.state.value == after


def test_an_app_that_comes_back_goes_on_where_both_agree_it_is():
    bench = Bench()
    bench.start(count=4)
    bench.says(AnalysisStarted, status="ok")
    bench.do(ConnectionLost(1))
    acks = sent(bench.ready(2, reconnection=True))
    assert [type(ack) for ack in acks] == [ExecuteAck, ReconnectionAck, QueryAnalysisStatus]
    assert acks[1].session_restored is True
    bench.says(FileDone, connection=2, file_id=0)  # what it could not tell while it was away
    at = CameraFiles(processing=[FileProcessing(file_id=1, progress_pct=3)])
    stream = StreamStatus(
        stream_id=0,
        status="running",
        cameras=[
            CameraStatus(camera_id=3, status="running", files=at),
            CameraStatus(camera_id=99, status="queued"),
        ],
    )
    messages = sent(bench.do(Received(2, AnalysisStatus(streams=[stream]))))
    assert isinstance(messages[0], InterruptAnalysis)
    assert messages[0].camera_id == 99, "nobody asked for that one"
    assert [getattr(file, "file_id", "eos") for file in messages[1].files] == [2, 3, "eos"]


def test_after_a_restart_of_the_server_apps_are_adopted_or_reaped():
    bench = Bench()
    bench.start(count=2)
    bench.says(AnalysisStarted, status="ok")
    bench.do(Launch("lb", Spec(CONFIG, 1), "b"))
    bench.control = Control.rebuilt(bench.control.export(), bench.now)
    assert [app.instance_id for app in bench.control.to_adopt()] == ["a", "b"]
    bench.do(Exited("b", 1, None))
    b = bench.control.app("b")
    assert b is not None
    assert (b.state, b.reason) == (AppState.BACKOFF, "is not there any more")
    bench.ready(7, reconnection=True)
    bench.says(FileDone, connection=7, file_id=0)
    assert bench.request().files[0].state is FileState.DONE


def test_a_push_after_a_restart_is_no_repeat_of_one_before():
    bench = Bench(limits=Limits(push_window=2))
    bench.start(count=4)
    (first,) = sent(bench.says(AnalysisStarted, status="ok"))
    bench.control = Control.rebuilt(bench.control.export(), bench.now, Limits(push_window=2))
    bench.ready(2, reconnection=True)
    stream = StreamStatus(stream_id=0, status="running", cameras=[CameraStatus(camera_id=3, status="queued")])
    (again,) = sent(bench.do(Received(2, AnalysisStatus(streams=[stream]))))
    assert [file.file_id for file in again.files] == [0, 1]
    assert first.request_id != again.request_id


def test_a_launch_that_nobody_waits_for_any_more_is_ended():
    bench = Bench(connected=False)
    bench.do(Exited("a", 1, 1))
    assert bench.do(Launched("a", 1, 99)) == [Signal("a", 1, "KILL")]


# --- everything else -------------------------------------------------------------------------


def test_metrics_are_kept_and_told():
    bench = Bench()
    message = MetricsResponse(cpu_percent=5, ram_mb=7, gpu_percent=None, vram_mb=None, timestamp="t")
    bench.do(Received(1, message))
    assert bench.control.snapshot()["apps"][0]["metrics"] == {
        "cpu_percent": 5,
        "ram_mb": 7,
        "gpu_percent": None,
        "vram_mb": None,
        "timestamp": "t",
    }


def test_changes_are_numbered_and_resumed_while_they_are_kept():
    bench = Bench(limits=Limits(changes=20))
    changes = bench.control.changes
    before = bench.control.snapshot()["id"]
    bench.start()
    since = changes.since(before)
    assert since is not None
    assert [change.number for change in since] == list(
        range(changes.number - len(since) + 1, changes.number + 1)
    )
    assert {change.kind for change in since} >= {"request", "slot", "file"}
    assert changes.since(changes.id(changes.number)) == []
    for camera in range(10, 30):
        bench.start(camera=camera)
    assert changes.since(before) is None, "no longer kept"
    for strange in ("", "1-0", "0-", "0--1", "0-999999", "0-x", "0-²"):
        assert changes.since(strange) is None


def test_stop_ends_everything_and_takes_nothing_new():
    bench = Bench()
    effects = bench.do(Stop("s"))
    assert isinstance(sent(effects)[0], TerminateApp)
    assert bench.start().status == 503
    assert one(bench.do(Launch("l2", Spec(CONFIG), "b")), Answer).status == 503
    assert not bench.control.ended
    bench.do(Exited("a", 1, 0))
    assert bench.control.ended


def test_what_has_ended_is_forgotten_within_bounds():
    bench = Bench(limits=Limits(kept_requests=2))
    for camera in range(1, 5):
        bench.start(camera=camera, stream_id=0)
    effects: list[Any] = []
    for number in range(1, 4):
        bench.do(Cancel(f"x{number}", f"r{number}"))
        if number == 1:
            effects = bench.says(AnalysisInterrupted, camera=1, status="ok")
            bench.says(AnalysisStarted, camera=2, status="ok")
        if number in (2, 3):
            effects = bench.says(AnalysisInterrupted, camera=number, status="ok")
    assert bench.request("r1") is None
    assert sorted(request.id for request in bench.control.requests()) == ["r2", "r3", "r4"]
    assert {drop.key for drop in all_of(effects, Drop)} == {"r1", "r1/0", "r1/1"}


def test_a_clean_up_forgets_apps_that_have_ended():
    bench = Bench()
    bench.do(Launch("lb", Spec(CONFIG), "b"))
    bench.do(LaunchFailed("b", 1, "no"))
    effects = bench.do(CleanUp("c"))
    assert one(effects, Answer).body["removed"] == 1
    assert one(effects, Drop) == Drop("app", "b")
    assert [app.instance_id for app in bench.control.apps()] == ["a"]


def test_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 2"):
        Control.rebuilt({"version": 2}, 0)


def _busy(queued: int, single: bool) -> Bench:
    """20 apps with 8 slots each, and so many files queued: in one request, or in one each."""
    bench = Bench(streams=8, connected=False)
    for number in range(20):
        name = "a" if number == 0 else f"app{number}"
        if number:
            bench.do(Launch(f"l{number}", Spec(CONFIG, 8), name))
            bench.do(Launched(name, 1, number))
        bench.ready(number + 1, name=name, streams=8)
    for camera in range(160):
        bench.start(camera=1000 + camera, count=1)
    bench.do(Cancel("x", bench.app.slots[0].current.id))
    bench.says(AnalysisInterrupted, camera=bench.app.slots[0].current.camera_id, status="ok")
    if single:
        for _ in range(queued):
            bench.start(camera=3, count=1, stream_id=0, instance_id="a")
    else:
        bench.start(camera=3, count=queued, stream_id=0, instance_id="a")
    return bench


def _cost(bench: Bench, single: bool, messages: int = 60) -> float:
    """Least seconds for a file to be begun and done (and, if it is alone in its request, for the next)."""
    costs: list[float] = []
    if not single:
        bench.says(AnalysisStarted, status="ok")
    for number in range(messages):
        began = time.process_time()  # of this process: other load on the machine does not count
        if single:
            bench.says(AnalysisStarted, status="ok")
        file_id = 0 if single else number
        bench.says(ProcessingStarted, file_id=file_id)
        bench.says(FileDone, file_id=file_id)
        if single:
            bench.says(AnalysisComplete)
        costs.append(time.process_time() - began)
        current = bench.app.slots[0].current
        assert current is not None
        assert current.stage in (Stage.ASKED, Stage.ACCEPTED)
    return sorted(costs)[len(costs) // 4]


@pytest.mark.parametrize("single", [False, True], ids=["one request", "a request each"])
def test_a_message_costs_the_same_whatever_waits(single: bool):
    few, many = _busy(100, single), _busy(10_000, single)
    ratio = _cost(many, single) / _cost(few, single)
    assert many.request("r161").unfinished + len(many.app.slots[0].line) > 1000
    assert ratio < 3, f"{ratio:.1f} times as much"
