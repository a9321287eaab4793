"""The worker by value: sources, pipelines and engine are fakes, everything between them is real."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from siwatsystem import worker
from siwatsystem.actions.base import Problem
from siwatsystem.config import Settings
from siwatsystem.connections import Connection
from siwatsystem.detections import Detection
from siwatsystem.errors import ModelRefused, StreamLost, StreamUnauthorized
from siwatsystem.frames import Image
from siwatsystem.messages import encode
from siwatsystem.routes.cameras import camera_of
from siwatsystem.routes.health import precisions_of, preparing
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.supervision import Failure
from siwatsystem.testing import FakeModel, FakeOpener, FakeSource, FakeSourcePool, fake_pipeline, until
from siwatsystem.usage import Usage, UsageMeter
from siwatsystem.worker import Worker

CAR = Detection("Car", 0.9, (1, 2, 11, 12))


class FakeEngine(FakeOpener):
    """An engine that opens what the fake opener gives."""

    def start(self) -> None: ...

    def close(self, timeout: float) -> None: ...


class Bench:
    def __init__(self, failures: list[Exception], **settings: Any) -> None:
        self.worker = Worker(Settings(**{"target_fps": 50, **settings}))
        self.model = FakeModel((CAR,), ["Car"])
        self.engine = FakeEngine(lambda: fake_pipeline(self.model), failures)
        self.worker.engine = self.engine  # type: ignore[assignment]

    async def start(self) -> None:
        await self.worker.start()
        self.pool = FakeSourcePool(self.worker._on_source_change)
        self.worker.pool = self.pool  # type: ignore[assignment]

    def connect(self) -> Connection:
        connection = self.worker.connect()
        assert [said["type"] for said in self.sent(connection)] == ["stateReport"]
        return connection

    def say(self, connection: Connection, kind: str, **payload: Any) -> None:
        self.worker.receive(connection, json.dumps({"type": kind, "payload": payload}))

    def subscribe(
        self, connection: Connection, name: str = "d1;c1", camera: str = "a", url: str = "m", **more: Any
    ) -> None:
        wish = {
            "modelId": 1,
            "modelName": "M",
            "modelUrl": f"http://m/{url}",
            "rtspUrl": f"rtsp://{camera}/s",
        }
        self.say(connection, "subscribe", subscriptionIdentifier=name, **wish, **more)

    def unsubscribe(self, connection: Connection, name: str = "d1;c1") -> None:
        self.say(connection, "unsubscribe", subscriptionIdentifier=name)

    def source(self, camera: str = "a") -> FakeSource:
        return self.pool.sources[SourceSpec(f"rtsp://{camera}/s")]

    def cameras(self) -> dict[str, int]:
        return {spec.url.removeprefix("rtsp://").removesuffix("/s"): n for spec, n in self.pool.users.items()}

    def sent(self, connection: Connection) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while (message := self.worker.connections.next(connection)) is not None:
            messages.append(json.loads(encode(message)))
        return messages

    def errors(self, connection: Connection) -> list[tuple[str, str | None, bool]]:
        return [
            (said["code"], said.get("subscriptionIdentifier"), said.get("resolved", False))
            for said in self.sent(connection)
            if said["type"] == "error"
        ]

    async def running(self, name: str = "d1;c1", camera: str = "a") -> None:
        """Until a frame of it was analysed."""
        await until(lambda: self.worker.loop_of(name).loaded.pipeline)  # type: ignore[union-attr]
        self.source(camera).show()
        await until(lambda: self.worker.loop_of(name).members[name].analysed)  # type: ignore[union-attr]


def play(
    scene: Callable[[Bench], Coroutine[Any, Any, None]],
    failures: list[Exception] | None = None,
    **settings: Any,
) -> None:
    async def main() -> None:
        bench = Bench(failures or [], **settings)
        await bench.start()
        try:
            await scene(bench)
        finally:
            bench.engine.gate.set()
            await bench.worker.stop()

    asyncio.run(main())


def test_a_subscription_runs_until_it_is_unsubscribed():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        assert bench.cameras() == {"a": 1}
        await bench.running()
        await until(lambda: len(one.outbound))
        found = [said for said in bench.sent(one) if said["type"] == "imageDetection"]
        assert found[0]["subscriptionIdentifier"] == "d1;c1"
        assert found[0]["data"]["boundingBox"] == [1.0, 2.0, 11.0, 12.0]
        source = bench.source()
        bench.unsubscribe(one)
        assert bench.cameras() == {}
        assert source.listeners == 0
        assert bench.worker.loops() == []
        assert bench.worker.loader.all() == []
        await until(lambda: bench.engine.closed)
        await asyncio.sleep(0.05)
        assert [said["cameraConnections"] for said in bench.sent(one)] == [[]]
        bench.unsubscribe(one)
        assert bench.errors(one) == [("unknown_subscription", "d1;c1", False)]

    play(scene)


def test_online_needs_frames_and_the_pipeline():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.engine.gate.clear()
        bench.subscribe(one)
        assert not bench.worker.online("d1;c1")
        bench.source().show()
        assert not bench.worker.online("d1;c1")
        bench.engine.gate.set()
        await until(lambda: bench.worker.online("d1;c1"))
        bench.source().fail(StreamLost("gone"))
        assert not bench.worker.online("d1;c1")
        assert not bench.worker.online("nobody;c")

    play(scene)


def test_displays_of_one_camera_share_source_pipeline_and_inference():
    async def scene(bench: Bench) -> None:
        one, two = bench.connect(), bench.connect()
        bench.subscribe(one)
        bench.subscribe(two, "d2;c1", url="m?signature=2")
        bench.subscribe(two, "d3;c1", cropX1=0, cropY1=0, cropX2=9, cropY2=9)
        assert len(bench.worker.loops()) == 2
        assert bench.worker.loop_of("d1;c1") is bench.worker.loop_of("d2;c1")
        assert bench.cameras() == {"a": 2}
        assert len(bench.pool.opened) == 1
        for name in ("d1;c1", "d2;c1", "d3;c1"):
            await until(lambda name=name: bench.worker.loop_of(name).loaded.pipeline)  # type: ignore[union-attr]
        bench.source().show()
        members = [bench.worker.loop_of(n).members[n] for n in ("d1;c1", "d2;c1", "d3;c1")]  # type: ignore[union-attr]
        await until(lambda: all(member.analysed for member in members))
        assert len(bench.engine.opened) == 1
        assert sorted(picture.shape[:2] for picture in bench.model.seen) == [(9, 9), (48, 64)]
        bench.unsubscribe(one)
        bench.unsubscribe(two, "d3;c1")
        assert bench.cameras() == {"a": 1}
        assert bench.engine.closed == []

    play(scene)


def test_replacing_the_crop_or_model_does_not_restart_the_source():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        await bench.running()
        source = bench.source()
        bench.subscribe(one, cropX1=0, cropY1=0, cropX2=9, cropY2=9)
        bench.subscribe(one, url="other")
        assert bench.source() is source
        assert len(bench.pool.opened) == 1
        assert bench.cameras() == {"a": 1}
        await until(lambda: len(bench.engine.opened) == 2 and bench.engine.closed)
        bench.subscribe(one, camera="b", url="other")
        assert bench.cameras() == {"b": 1}
        assert source.listeners == 0
        assert len(bench.worker.loops()) == 1

    play(scene)


def test_the_same_again_changes_nothing_but_ends_rests():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        loop = bench.worker.loop_of("d1;c1")
        await until(lambda: bench.worker.loader.all()[0].error)
        assert ("model_refused", "d1;c1", False) in bench.errors(one)
        bench.subscribe(one)
        assert bench.worker.loop_of("d1;c1") is loop
        assert bench.source().retries == 2
        await until(lambda: bench.worker.loader.all()[0].pipeline)
        assert bench.cameras() == {"a": 1}

    play(scene, [ModelRefused("a pickle")])


def test_another_connection_takes_over():
    async def scene(bench: Bench) -> None:
        one, two = bench.connect(), bench.connect()
        bench.subscribe(one)
        await bench.running()
        bench.subscribe(two)
        assert bench.cameras() == {"a": 1}
        assert len(bench.pool.opened) == 1
        bench.sent(one), bench.sent(two)
        bench.source().show()
        await until(lambda: any(said["type"] == "imageDetection" for said in bench.sent(two)))
        assert not [said for said in bench.sent(one) if said["type"] == "imageDetection"]
        bench.unsubscribe(one)
        assert bench.errors(one) == [("unknown_subscription", "d1;c1", False)]
        assert bench.cameras() == {"a": 1}

    play(scene)


def test_what_a_lost_connection_held_stays_warm_for_the_grace():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        await bench.running()
        bench.worker.disconnect(one)
        bench.worker._expire()
        assert bench.cameras() == {"a": 1}
        two = bench.connect()
        bench.subscribe(two)
        assert len(bench.pool.opened) == 1
        bench.worker._change(bench.worker.subscriptions.expire(time.monotonic() + 1000))
        assert bench.cameras() == {"a": 1}  # it is held again
        bench.worker.disconnect(two)
        bench.worker._change(bench.worker.subscriptions.expire(time.monotonic() + 1000))
        assert bench.cameras() == {}
        assert bench.worker.loader.all() == []

    play(scene)


def test_without_a_grace_it_ends_with_its_connection():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        bench.worker.disconnect(one)
        assert bench.cameras() == {}
        assert bench.worker.subscriptions.all() == []

    play(scene, disconnect_grace_sec=0)


def test_a_camera_for_which_there_is_no_thread_leaves_nothing_behind():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.pool.failure = RuntimeError("can't start new thread")
        bench.subscribe(one)
        assert bench.errors(one) == [("overloaded", "d1;c1", False)]
        assert bench.worker.subscriptions.all() == []
        assert bench.worker.loops() == []
        assert bench.worker.loader.all() == []
        bench.subscribe(one)
        assert bench.cameras() == {"a": 1}
        bench.pool.failure = OSError("too many open files")
        bench.subscribe(one, camera="b")
        assert bench.errors(one) == [("overloaded", "d1;c1", False)]
        assert bench.cameras() == {}
        assert bench.worker.subscriptions.all() == []

    play(scene)


def test_an_unexpected_exception_is_answered_and_ends_nothing():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        display, bench.worker.displays = bench.worker.displays, None  # type: ignore[assignment]
        bench.say(one, "setSessionId", displayIdentifier="d1", sessionId=5)
        assert bench.errors(one) == [("internal_error", None, False)]
        bench.worker.displays = display
        bench.say(one, "setSessionId", displayIdentifier="d1", sessionId=5)
        assert bench.errors(one) == []
        assert one.close is None
        assert bench.worker.displays.session_of("d1") == 5

    play(scene)


def test_too_many_cameras_are_refused():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        bench.subscribe(one, "d2;c2", camera="b")
        assert bench.errors(one) == [("max_streams_reached", "d2;c2", False)]
        assert bench.cameras() == {"a": 1}

    play(scene, max_streams=1)


def test_what_a_source_suffers_is_told_to_its_holder_only_once_and_when_it_is_over():
    async def scene(bench: Bench) -> None:
        one, two = bench.connect(), bench.connect()
        bench.subscribe(one)
        bench.subscribe(two, "d2;c2", camera="b")
        bench.source().fail(StreamUnauthorized("401"))
        bench.source().fail(StreamUnauthorized("401"))
        await until(lambda: one.told)
        bench.source().show()
        await until(lambda: not one.told)
        assert bench.errors(one) == [
            ("stream_unauthorized", "d1;c1", False),
            ("stream_unauthorized", "d1;c1", True),
        ]
        assert bench.errors(two) == []

    play(scene)


def test_what_a_pipeline_suffers_is_told_to_its_holder_only():
    async def scene(bench: Bench) -> None:
        one, two = bench.connect(), bench.connect()
        bench.subscribe(one)
        await until(lambda: one.told)
        bench.subscribe(two, "d2;c2", camera="b", url="fine")
        await bench.running("d2;c2", "b")
        assert bench.errors(one) == [("model_refused", "d1;c1", False)]
        bench.model._answers = {"exact": RuntimeError("out of memory")}
        bench.source("b").show()
        await until(lambda: two.told)
        assert bench.errors(two) == [("pipeline_failed", "d2;c2", False)]
        assert bench.errors(one) == []

    play(scene, [ModelRefused("a pickle")])


def test_models_that_are_being_prepared_are_named_until_they_are_ready_or_failed():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        assert preparing(bench.worker) == []
        bench.engine.gate.clear()
        bench.subscribe(one)
        assert preparing(bench.worker) == ["1"]
        bench.engine.gate.set()
        await until(lambda: bench.errors(one))
        assert preparing(bench.worker) == []
        bench.subscribe(one)  # tried again at once
        assert preparing(bench.worker) == ["1"]
        await bench.running()
        assert preparing(bench.worker) == []

    play(scene, [ModelRefused("a pickle")])


def test_what_an_action_suffers_is_told_to_whom_it_concerns():
    async def scene(bench: Bench) -> None:
        one, two = bench.connect(), bench.connect()
        bench.subscribe(one)
        bench.worker._on_problem(Problem("action_failed", "no such column", "d1;c1"))
        bench.worker._on_problem(Problem("outbox_full", "full"))
        await until(lambda: len(two.outbound))
        assert bench.errors(one) == [("action_failed", "d1;c1", False), ("outbox_full", None, False)]
        assert bench.errors(two) == [("outbox_full", None, False)]

    play(scene)


def test_a_subscription_as_the_dashboard_sees_it():
    async def scene(bench: Bench) -> None:
        one = bench.connect()
        bench.subscribe(one)
        await bench.running()
        wish = bench.worker.subscriptions.all()[0]
        said = camera_of(bench.worker, wish)
        assert (said.online, said.analysed, said.last) == (True, 1, [{"class": "Car"}])
        assert said.problem is None
        assert precisions_of(bench.worker) == {"1": "exact: no picture was compared yet"}
        bench.source().fail(StreamLost("gone"))
        assert camera_of(bench.worker, wish).problem == "gone"

    play(scene)


def test_a_model_that_hangs_does_not_hold_up_the_end():
    hung, let_go = threading.Event(), threading.Event()

    def hang(image: Image) -> tuple[Detection, ...]:
        hung.set()
        let_go.wait(60)
        return (CAR,)

    async def scene() -> None:
        bench = Bench([], shutdown_timeout_sec=0.9)
        bench.model = FakeModel(hang, ["Car"])
        await bench.start()
        bench.subscribe(bench.connect())
        await until(lambda: bench.worker.loop_of("d1;c1").loaded.pipeline)  # type: ignore[union-attr]
        bench.source().show()
        await until(hung.is_set)
        await bench.worker.stop()

    # Ending the event loop waits for its own threads: none of them may be the one that hangs.
    runner = threading.Thread(target=lambda: asyncio.run(scene()))
    runner.start()
    runner.join(30)
    ended = not runner.is_alive()
    let_go.set()
    runner.join(60)
    assert hung.is_set()
    assert ended


def from_start_to_end(bench: Bench, let_go: threading.Event) -> float:
    """Run a worker from start to end on a thread of its own; the seconds that took."""

    async def scene() -> None:
        await bench.start()
        bench.connect()
        await bench.worker.stop()

    began = time.monotonic()
    runner = threading.Thread(target=lambda: asyncio.run(scene()))
    runner.start()
    runner.join(30)
    took = time.monotonic() - began
    let_go.set()
    runner.join(60)
    return took


def test_cameras_and_an_engine_that_hang_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "SLACK_SEC", 0.1)
    monkeypatch.setattr(worker, "EMBEDDED_SEC", 0.1)
    let_go, asked = threading.Event(), list[str]()

    def hang(name: str) -> None:
        asked.append(name)
        let_go.wait(60)

    bench = Bench([], shutdown_timeout_sec=0.9)
    monkeypatch.setattr(FakeSourcePool, "close", lambda self, timeout: hang("cameras"))
    monkeypatch.setattr(FakeEngine, "close", lambda self, timeout: hang("engine"))
    assert from_start_to_end(bench, let_go) < 15
    assert asked == ["cameras", "engine"]


def test_a_gpu_that_does_not_answer_holds_up_neither_reports_nor_the_end(monkeypatch: pytest.MonkeyPatch):
    let_go, asked = threading.Event(), threading.Event()

    def hang(self: UsageMeter) -> Usage:
        asked.set()
        let_go.wait(60)
        return Usage(1.0, 2.0)

    monkeypatch.setattr(UsageMeter, "read", hang)

    async def scene() -> None:
        bench = Bench([], websocket={"state_interval_sec": 0.02})
        await bench.start()
        one = bench.connect()
        for _ in range(2):
            await until(lambda: one.outbound)
            assert {said["type"] for said in bench.sent(one)} == {"stateReport"}
        await bench.worker.stop()

    runner = threading.Thread(target=lambda: asyncio.run(scene()))
    runner.start()
    runner.join(30)
    ended = not runner.is_alive()
    let_go.set()
    runner.join(60)
    assert asked.is_set()
    assert ended


def test_what_comes_after_the_end_is_told_to_nobody():
    benches: list[Bench] = []

    async def scene(bench: Bench) -> None:
        benches.append(bench)
        bench.subscribe(bench.connect())

    play(scene)
    ended = benches[0].worker
    ended._on_problem(Problem("outbox_full", "full"))
    ended._on_failure(Failure("model", "one", "hangs"))
    ended._on_source_change(FakeSource(SourceSpec("rtsp://a/s")))
