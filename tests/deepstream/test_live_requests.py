"""What is told of a request for a live camera, which has no files."""

from siwatsystem.deepstream.events import Cancel, Received
from siwatsystem.deepstream.states import RequestState
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    CameraStatus,
)
from tests.deepstream.by_hand import Bench


def live(bench: Bench) -> Bench:
    bench.start(kind="videostream", path="rtsp://camera/1", count=0)
    bench.says(AnalysisStarted, status="ok")
    return bench


def told(bench: Bench, status: str, reason: str | None = None) -> tuple[RequestState, str | None]:
    camera = CameraStatus.model_validate({"camera_id": 3, "status": status, "reason": reason})
    bench.do(Received(1, AnalysisStatus(stream_id=0, camera=camera)))
    return bench.request().state, bench.request().reason


def test_why_nothing_comes_of_a_camera_is_its_reason_until_something_does():
    bench = live(Bench())
    state, reason = told(bench, "queued")
    assert (state, reason) == (RequestState.QUEUED, "accepted; no frame was analysed yet")
    assert told(bench, "queued", "nobody answers") == (RequestState.QUEUED, "nobody answers")
    assert told(bench, "running") == (RequestState.RUNNING, None)
    assert told(bench, "running", "no new frame for 10 s") == (RequestState.RUNNING, "no new frame for 10 s")
    assert told(bench, "running") == (RequestState.RUNNING, None)
    bench.says(AnalysisComplete, status="done")
    assert bench.request().state is RequestState.DONE


def test_what_an_app_says_late_does_not_replace_why_a_request_ends():
    bench = live(Bench())
    told(bench, "running")
    bench.do(Cancel("c1", "r1", "enough"))
    assert told(bench, "running", "no new frame for 10 s")[1] == "enough"


def test_a_camera_that_the_app_gave_up_waits_again_and_is_not_done():
    bench = live(Bench())
    for attempt in range(1, 4):
        assert bench.request().state is RequestState.QUEUED
        run = f"run:r1#{attempt}"
        if attempt > 1:
            bench.says(AnalysisStarted, status="ok", request_id=run)
        bench.says(AnalysisInterrupted, status="error", error_reason="OSError: no space", request_id=run)
    assert bench.request().state is RequestState.FAILED
    assert bench.request().reason == "given up after 3 attempts: the app gave it up: OSError: no space"
