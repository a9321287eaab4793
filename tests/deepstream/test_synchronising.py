"""After a lost connection, and after a restart of the server: both sides agree again."""

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.events import (
    ConnectionLost,
    Exited,
    Launch,
    Received,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState
from siwatsystem.deepstream.to_app import (
    ExecuteAck,
    InterruptAnalysis,
    QueryAnalysisStatus,
    ReconnectionAck,
)
from siwatsystem.deepstream.to_server import (
    AnalysisStarted,
    AnalysisStatus,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    StreamStatus,
)
from tests.deepstream.by_hand import CONFIG, Bench, sent


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


def test_a_file_goes_on_from_its_lines_though_the_server_forgot_its_frame():
    bench = Bench()
    bench.start(resume=True)
    (push,) = sent(bench.says(AnalysisStarted, status="ok"))
    assert [getattr(file, "start_frame", None) for file in push.files] == [None, None, None]
    bench.control = Control.rebuilt(bench.control.export(), bench.now)
    bench.do(Exited("a", 1, None))
    bench.after(1)
    bench.ready(2)
    (push,) = sent(bench.says(AnalysisStarted, connection=2, status="ok"))
    assert [file.start_frame for file in push.files[:-1]] == [0, 0]


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
