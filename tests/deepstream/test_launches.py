"""Launches and handshakes, in the state core."""

from typing import Any

import pytest

from siwatsystem.deepstream.admission import Capacity
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import Answer, Close, LaunchApp, Send, Signal
from siwatsystem.deepstream.events import (
    Exited,
    Launch,
    Launched,
    LaunchFailed,
    Received,
    Register,
)
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState
from siwatsystem.deepstream.to_app import (
    ExecuteAck,
)
from siwatsystem.deepstream.to_server import (
    AppReady,
    FileDone,
)
from tests.deepstream.by_hand import CONFIG, Bench, all_of, one, sent


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
    assert Close(1, 1008, ack.error_message or "") in effects
    assert bench.app.state is AppState.STARTING
    expected = None if code == "UNKNOWN_INSTANCE" else f"its app_ready was refused: {ack.error_message}"
    assert bench.app.reason == expected
    bench.do(Exited("a", 1, 3))
    assert (bench.app.reason or "").endswith(expected or "ended with code 3")


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


def test_a_launch_that_nobody_waits_for_any_more_is_ended():
    bench = Bench(connected=False)
    bench.do(Exited("a", 1, 1))
    assert bench.do(Launched("a", 1, 99)) == [Signal("a", 1, "KILL")]
