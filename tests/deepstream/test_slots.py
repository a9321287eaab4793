"""The state core as a whole: what it keeps, tells and forgets."""

from typing import Any

import pytest

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import Answer, Drop
from siwatsystem.deepstream.events import (
    Cancel,
    CleanUp,
    Exited,
    Launch,
    LaunchFailed,
    Received,
    Stop,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.to_app import (
    TerminateApp,
)
from siwatsystem.deepstream.to_server import (
    AnalysisInterrupted,
    AnalysisStarted,
    MetricsResponse,
)
from tests.deepstream.by_hand import CONFIG, Bench, all_of, one, sent


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


def test_what_cannot_be_told_holds_up_no_later_event():
    bench = Bench()
    bench.start(stream_id=0)
    bench.start(stream_id=0)
    with pytest.raises(TypeError):
        bench.do(Cancel("x", "r2", "\ud800"))
    assert bench.start(camera=4).status == 200


def test_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 2"):
        Control.rebuilt({"version": 2}, 0)


def test_what_befalls_many_files_at_once_is_told_once_and_pushes_nothing_out():
    bench = Bench(limits=Limits(told_files=5))
    changes = bench.control.changes
    before = bench.control.snapshot()["id"]
    bench.start(stream_id=0, count=5)
    bench.start(stream_id=0, count=6)
    bench.do(Cancel("x", "r2"))
    since = changes.since(before)
    assert since is not None
    assert [change.key for change in since if change.kind == "file"] == [
        f"r1/{number}" for number in range(5)
    ]
    many = [change.value for change in since if change.kind == "files"]
    assert many == [{"request_id": "r2", "changed": 6}] * 2
    bench.start(camera=9, count=10_000)
    assert changes.since(before) is not None
