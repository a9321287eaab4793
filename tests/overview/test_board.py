"""What the dashboard is told, through its routes: real loops and pipelines on fake cameras and models."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import cv2
import numpy as np
import pytest

from siwatsystem.detections import Detection
from siwatsystem.errors import StreamLost
from siwatsystem.frames import Image
from siwatsystem.overview import board as module
from siwatsystem.overview.board import Board
from siwatsystem.testing import FakeModel, until
from tests.test_worker import Bench

CAR = Detection("Car", 0.9, (10, 20, 110, 80))
STATUS = {"depth": 3, "bytes": 900, "pending": 0, "failed": 0, "dropped": {}, "servers": [], "degraded": []}


class Stage(Bench):
    """A worker with a board beside it."""

    def __init__(self) -> None:
        super().__init__([])
        self.model = FakeModel((CAR,), ["Car"])
        self.engine.status = lambda: dict(STATUS)  # type: ignore[attr-defined]
        self.board = Board(self.worker)

    def state(self) -> dict[str, Any]:
        self.board._state = (-1e9, b"")
        return json.loads(self.board.state())

    async def seen(self, count: int = 1) -> None:
        """So many further frames have been analysed."""
        member = self.worker.loop_of("d1;c1").members["d1;c1"]  # type: ignore[union-attr]
        for _ in range(count):
            before = member.analysed
            self.source().show(picture())
            await until(lambda before=before: member.analysed > before)


def picture() -> Image:
    return np.random.default_rng(3).integers(0, 255, (360, 640, 3), np.uint8)


def play(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        stage = Stage()
        await stage.start()
        stage.board.start()
        try:
            await scene(stage)
        finally:
            await stage.board.stop()
            stage.engine.gate.set()
            await stage.worker.stop()

    asyncio.run(main())


def test_every_camera_and_how_it_is():
    async def scene(stage: Stage) -> None:
        assert stage.state()["headline"]["text"] == "No camera is subscribed"
        stage.subscribe(stage.connect(), cropX1=0, cropY1=0, cropX2=200, cropY2=100)
        await stage.running()
        await stage.seen()
        (camera,) = stage.state()["cameras"]
        assert (camera["id"], camera["online"], camera["model_state"]) == ("d1;c1", True, "ready")
        assert camera["size"] == [200, 100]
        assert camera["analysed"] == 2
        assert camera["trouble"] is None
        stage.source().fail(StreamLost("it stopped"))
        state = stage.state()
        assert state["cameras"][0]["trouble"]["code"] == "stream_lost"
        assert state["headline"]["text"] == "The camera is offline"
        assert state["problems"][0]["cameras"] == ["d1;c1"]
        assert state["machine"]["outbox"]["depth"] == 3

    play(scene)


def test_a_state_is_computed_once_for_all_who_look(monkeypatch: pytest.MonkeyPatch):
    async def scene(stage: Stage) -> None:
        monkeypatch.setattr(module, "FRESH_SEC", 60.0)
        assert stage.board.state() is stage.board.state()

    play(scene)


def test_a_picture_comes_with_what_was_seen_on_it():
    async def scene(stage: Stage) -> None:
        stage.subscribe(stage.connect())
        await stage.running()
        first = await stage.board.still("d1;c1", 320)
        assert first is not None
        assert first.seen["boxes"] == []  # nobody looked when it was analysed
        await stage.seen()
        second = await stage.board.still("d1;c1", 320)
        assert second is not None
        image = cv2.imdecode(np.frombuffer(second.data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == (180, 320, 3)
        assert second.seen["size"] == (640, 360)
        (box,) = second.seen["boxes"]
        assert (box["class"], box["box"], box["event"]) == ("Car", [10, 20, 110, 80], True)
        assert await stage.board.still("d1;c1", 320, known=second.name) is None
        assert await stage.board.still("d1;no", 320) is None

    play(scene)


def test_a_camera_that_was_replaced_shows_nothing_of_the_one_before():
    async def scene(stage: Stage) -> None:
        one = stage.connect()
        stage.subscribe(one)
        await stage.running()
        await stage.board.still("d1;c1", 320)
        await stage.seen()
        member = stage.worker.loop_of("d1;c1").members["d1;c1"]  # type: ignore[union-attr]
        before = await stage.board.still("d1;c1", 320)
        assert before is not None
        assert before.seen["boxes"]
        stage.subscribe(one, camera="b")
        assert await stage.board.still("d1;c1", 320) is None  # no frame yet
        # What the loop before was about to say comes too late.
        old = stage.board._sights["d1;c1"]
        stage.worker._deliver(member, old.frame, old.analysis)
        assert stage.board._sights["d1;c1"] is old
        for _ in range(old.frame.sequence):
            stage.source("b").show(255 - picture())
        after = await stage.board.still("d1;c1", 320, known=before.name)
        assert after is not None  # though frames are counted anew
        assert after.data != before.data
        assert after.seen["boxes"] == []

    play(scene)


def test_a_picture_is_encoded_once_for_all_who_look(monkeypatch: pytest.MonkeyPatch):
    async def scene(stage: Stage) -> None:
        made: list[int] = []
        real = module.still.__globals__["encode_jpeg"]
        monkeypatch.setitem(module.still.__globals__, "encode_jpeg", lambda *a: (made.append(1), real(*a))[1])
        stage.subscribe(stage.connect())
        await stage.running()
        found = await asyncio.gather(*(stage.board.still("d1;c1", width) for width in (300, 310, 320)))
        assert len({one.data for one in found if one is not None}) == 1
        assert made == [1]

    play(scene)


def test_what_was_seen_comes_with_a_small_picture():
    async def scene(stage: Stage) -> None:
        stage.subscribe(stage.connect())
        await stage.running()
        assert stage.state()["feed"] == []
        await stage.seen(3)
        await until(lambda: stage.state()["feed"][0]["picture"])
        (entry,) = stage.state()["feed"]
        assert (entry["camera"], entry["class"]) == ("d1;c1", "Car")
        data = stage.board.thumb(entry["number"])
        assert data is not None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert max(image.shape) <= 160
        assert stage.board.thumb(99) is None

    play(scene)


def test_a_better_picture_is_made_as_soon_as_there_is_time(monkeypatch: pytest.MonkeyPatch):
    async def scene(stage: Stage) -> None:
        stage.subscribe(stage.connect())
        await stage.running()
        stage.state()
        monkeypatch.setattr(module, "THUMBS_AT_A_TIME", 0)
        await stage.seen()
        (entry,) = stage.board._feed
        assert (entry.wants, entry.picture) == (True, 0)
        monkeypatch.undo()
        await stage.seen()
        await until(lambda: entry.picture == 1)
        assert not entry.wants
        # What could not be made is made of the next frame.
        entry.wants = True
        real = module.thumb
        monkeypatch.setattr(module, "thumb", lambda *_: (_ for _ in ()).throw(ValueError("no picture")))
        await stage.seen()
        await until(lambda: not stage.board._jobs)
        monkeypatch.setattr(module, "thumb", real)
        await stage.seen()
        await until(lambda: entry.picture == 2)

    play(scene)


def test_a_backend_that_has_gone_is_told(monkeypatch: pytest.MonkeyPatch):
    async def scene(stage: Stage) -> None:
        one, page = stage.connect(), stage.connect()
        stage.subscribe(one)
        stage.subscribe(page, "dashboard;trial")
        await stage.running()
        stage.board._sample()
        held = {camera["id"]: camera["held"] for camera in stage.state()["cameras"]}
        assert held == {"d1;c1": True, "dashboard;trial": True}
        stage.worker.disconnect(one)
        stage.board._sample()
        now = time.time()
        assert stage.state()["headline"]["tone"] == "good"  # it may be back in a moment
        monkeypatch.setattr(time, "time", lambda: now + 10)
        state = stage.state()
        assert [camera["held"] for camera in state["cameras"] if not camera["test"]] == [False]
        found = state["headline"]
        assert (found["tone"], found["text"]) == ("warn", "No backend is connected")
        assert abs(found["since"] - now) < 5
        stage.worker.end_warm("d1;c1")
        assert stage.state()["headline"] == found  # whatever is tested meanwhile
        stage.subscribe(stage.connect())
        assert stage.state()["headline"]["since"] is None

    play(scene)


def test_the_page_of_a_camera():
    async def scene(stage: Stage) -> None:
        stage.subscribe(stage.connect())
        await stage.running()
        assert stage.board.camera("d1;no") is None
        stage.board.camera("d1;c1")
        await stage.seen(4)
        stage.board._sample()
        found = stage.board.camera("d1;c1")
        assert found is not None
        assert found["tree"]["times"]["runs"] == 4
        assert found["tree"]["times"]["mean_ms"] is not None
        assert found["tree"]["times"]["newest"]["outcome"] == "ran"
        assert len(found["history"]["at"]) == len(found["history"]["analysed"]) == 1
        assert found["history"]["delay"][0] < 10
        assert found["address"] == "rtsp://a/s"

    play(scene)


def test_two_displays_of_one_camera_do_not_count_twice():
    async def scene(stage: Stage) -> None:
        one = stage.connect()
        stage.subscribe(one)
        stage.subscribe(one, "d2;c1")
        await stage.running()
        stage.board.camera("d1;c1")
        await stage.seen(3)
        for name in ("d1;c1", "d2;c1"):
            found = stage.board.camera(name)
            assert found is not None
            assert found["tree"]["times"]["runs"] == 3
            assert len(found["shared_with"]) == 1

    play(scene)


def test_nothing_is_collected_while_nobody_looks(monkeypatch: pytest.MonkeyPatch):
    async def scene(stage: Stage) -> None:
        stage.subscribe(stage.connect())
        await stage.running()
        assert stage.worker.onlooker is None
        await stage.board.still("d1;c1", 320)
        await stage.seen(2)
        assert stage.board._sights
        assert list(stage.board._feed)
        monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + 11)
        stage.board._sample()
        assert stage.worker.onlooker is None
        assert not stage.board._sights
        assert not list(stage.board._feed)
        # The histories go on.
        assert stage.board.machine_history()["at"]

    play(scene)


def test_what_ends_is_forgotten():
    async def scene(stage: Stage) -> None:
        one = stage.connect()
        stage.subscribe(one)
        await stage.running()
        await stage.board.still("d1;c1", 320)
        await stage.seen()
        stage.board._sample()
        stage.unsubscribe(one)
        stage.board._sample()
        assert not stage.board._records
        assert not stage.board._sights
        assert not stage.board._wanted

    play(scene)


def test_what_cannot_be_noted_costs_no_camera(monkeypatch: pytest.MonkeyPatch):
    async def scene(stage: Stage) -> None:
        stage.subscribe(stage.connect())
        await stage.running()
        stage.state()
        monkeypatch.setattr(stage.board._feed, "add", lambda *_: 1 / 0)
        await stage.seen(2)
        assert stage.worker.loop_of("d1;c1").failing is None  # type: ignore[union-attr]

    play(scene)
