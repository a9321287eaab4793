"""The task that owns the state core: order of effects, answers, deadlines, restarts."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.deepstream import store
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.driver import AT_ONCE, MOST_EFFECTS, Driver
from siwatsystem.deepstream.effects import Drop, Save
from siwatsystem.deepstream.events import (
    Cancel,
    ConnectionLost,
    Exited,
    FileGiven,
    Launch,
    Received,
    Register,
    Start,
    Terminate,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.messages import ServerMessage
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState
from siwatsystem.deepstream.store import Store
from siwatsystem.deepstream.to_server import AppReady
from tests.deepstream.site import FakeLauncher

SPEC = Spec("/configs/a.txt", 1)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Recording(Store):
    """Notes when something was saved, among what was sent."""

    def __init__(self, path: Path, log: list[str]) -> None:
        super().__init__(path)
        self.log = log

    def save(self, changes: Any) -> None:
        changes = list(changes)
        if any(isinstance(change, Save | Drop) for change in changes):
            self.log.append("saved")
        super().save(changes)


class Lines:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def send(self, number: int, message: ServerMessage) -> None:
        self.log.append(message.type)

    def close(self, number: int, code: int, reason: str) -> None:
        self.log.append(f"closed {code}")


class World:
    def __init__(self, folder: Path, **limits: Any) -> None:
        self.log: list[str] = []
        self.store = Recording(folder / "c.sqlite", self.log)
        self.launcher = FakeLauncher(lambda event: self.driver.tell(event))
        control = Control.rebuilt(self.store.load(), time.time(), Limits(**limits))
        self.driver = Driver(control, self.store, self.launcher, Lines(self.log), started=time.time())
        self.driver.start()

    async def connect(self, number: int = 1) -> None:
        ready = {"instance_id": "one", "config_path": SPEC.config_path, "streams_count": 1}
        await self.driver.handle(Received(number, AppReady.model_validate(ready)))

    async def launched(self) -> None:
        assert (await self.driver.ask(Launch("l", SPEC, "one"))).status == 200
        await self.connect()


def start(request_id: str = "r", files: int = 2) -> Start:
    given = tuple(FileGiven(number, f"/v/{number}.mp4") for number in range(files))
    return Start(request_id, 3, "fileset", "/v", files=given)


async def test_what_is_told_was_saved_before(tmp_path: Path):
    world = World(tmp_path)
    await world.launched()
    world.log.clear()
    await world.driver.ask(start())
    assert world.log == ["saved", "start_analysis"]
    world.log.clear()
    await world.driver.ask(start("many", 300))
    assert world.log == ["saved"]
    await world.driver.stop()
    assert len(Store(tmp_path / "c.sqlite").load()["file"]) == 2 + 300


async def test_several_may_wait_for_one_answer(tmp_path: Path):
    world = World(tmp_path)
    command = Launch("l", SPEC, "one")
    answers = await asyncio.gather(*(world.driver.ask(command) for _ in range(3)))
    assert [answer.body["process_id"] for answer in answers] == ["proc_one"] * 3
    assert len(world.launcher.launched) == 1
    await world.driver.stop()


async def test_an_answer_that_does_not_come_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World(tmp_path)
    monkeypatch.setattr(world.launcher, "launch", lambda effect: None)
    answer = await world.driver.ask(Launch("l", SPEC, "one"), within=0.1)
    assert (answer.status, answer.body["success"]) == (503, False)
    await world.driver.stop()


async def test_deadlines_pass_by_themselves(tmp_path: Path):
    world = World(tmp_path, stop_sec=0.1, term_sec=0.1, kill_sec=0.1)
    await world.launched()
    await world.driver.ask(Terminate("t", "one"))
    app = world.driver.control.app("one")
    assert app is not None
    deadline = time.monotonic() + 10
    while app.state is not AppState.EXITED and time.monotonic() < deadline:
        await world.driver.changed(0.1)
    assert app.state is AppState.EXITED
    assert world.launcher.signals[0].signal == "TERM"
    await world.driver.stop()


async def test_the_end_of_an_app_waits_for_what_it_said_last(tmp_path: Path):
    world = World(tmp_path, backoff_sec=60)
    await world.launched()
    app = world.driver.control.app("one")
    assert app is not None
    await world.driver.handle(Exited("one", 1, 1))
    assert app.state is AppState.RUNNING
    await world.driver.handle(ConnectionLost(1))
    await world.driver.handle(ConnectionLost(99))  # whatever: the one before was dealt with
    assert app.state is AppState.BACKOFF
    await world.driver.stop()


async def test_the_end_of_an_app_does_not_wait_for_ever(tmp_path: Path):
    world = World(tmp_path, backoff_sec=60)
    await world.launched()
    app = world.driver.control.app("one")
    assert app is not None
    await world.driver.handle(Exited("one", 1, 1))
    deadline = time.monotonic() + 10
    while app.state is AppState.RUNNING and time.monotonic() < deadline:
        await world.driver.changed(0.1)
    assert app.state is AppState.BACKOFF
    assert "closed 1001" in world.log
    assert not world.driver._exits  # pyright: ignore[reportPrivateUsage] # nothing is kept of it
    await world.driver.stop()


async def test_one_failure_does_not_end_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World(tmp_path)
    handle = world.driver.control.handle

    def fails(event: Any, now: float) -> Any:
        if isinstance(event, Register):
            raise RuntimeError("a mistake")
        return handle(event, now)

    monkeypatch.setattr(world.driver.control, "handle", fails)
    assert (await world.driver.ask(Register("x", "two", SPEC))).status == 500
    await world.launched()
    await world.driver.stop()


async def test_everything_is_there_after_a_restart(tmp_path: Path):
    first = World(tmp_path)
    await first.launched()
    await first.driver.ask(start())
    state = first.driver.control.export()
    await first.driver.stop()
    second = World(tmp_path)
    assert second.driver.control.export() == state
    assert [app.instance_id for app in second.driver.control.to_adopt()] == ["one"]
    assert (await second.driver.ask(start())).status == 200
    assert len(second.driver.control.requests()) == 1
    await second.driver.stop()


async def test_news_may_come_from_any_thread_and_after_the_end(tmp_path: Path):
    world = World(tmp_path)
    await world.launched()
    await asyncio.to_thread(world.driver.tell, ConnectionLost(1))
    app = world.driver.control.app("one")
    assert app is not None
    deadline = time.monotonic() + 10
    while app.connection is not None and time.monotonic() < deadline:
        await world.driver.changed(0.1)
    assert app.connection is None
    await world.driver.stop()
    world.driver.tell(ConnectionLost(2))
    await world.driver.handle(ConnectionLost(2))


async def test_what_comes_together_is_written_together_and_answered_in_turn(tmp_path: Path):
    world = World(tmp_path)
    await world.launched()
    world.log.clear()
    names = [f"r{number}" for number in range(AT_ONCE)]
    answers = await asyncio.gather(*(world.driver.ask(start(name)) for name in names))
    assert [answer.body["request_id"] for answer in answers] == names
    assert world.log == ["saved", "start_analysis"]  # the slot takes the first, all others wait
    assert set(world.store.load()["request"]) == set(names)
    await world.driver.stop()


async def test_large_commands_that_come_together_leave_others_their_turn(tmp_path: Path):
    world = World(tmp_path)
    await world.launched()
    large = [world.driver.ask(start(f"r{number}", MOST_EFFECTS)) for number in range(5)]
    asked = [asyncio.ensure_future(each) for each in large]
    seen: set[int] = set()
    while not all(each.done() for each in asked):
        await asyncio.sleep(0)
        seen.add(len(world.driver.control.requests()))
    assert seen >= {1, 2, 3, 4, 5}
    await world.driver.stop()


async def test_of_what_comes_together_one_failure_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World(tmp_path)
    await world.launched()
    handle = world.driver.control.handle

    def fails(event: Any, now: float) -> Any:
        if isinstance(event, Register):
            raise RuntimeError("a mistake")
        return handle(event, now)

    monkeypatch.setattr(world.driver.control, "handle", fails)
    commands = (start("a"), Register("x", "two", SPEC), start("b"))
    answers = await asyncio.gather(*(world.driver.ask(command) for command in commands))
    assert [answer.status for answer in answers] == [200, 500, 200]
    await world.driver.stop()


async def test_a_slow_disk_holds_up_commands_but_no_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World(tmp_path)
    await world.launched()
    writing, go_on = threading.Event(), threading.Event()
    save = world.store.save

    def slow(changes: Any) -> None:
        writing.set()
        assert go_on.wait(20)
        save(changes)

    monkeypatch.setattr(world.store, "save", slow)
    asked = asyncio.create_task(world.driver.ask(start()))
    async with asyncio.timeout(20):
        while not writing.is_set():  # a thread sets it
            await asyncio.sleep(0.01)
    assert world.driver.control.snapshot()["requests"]  # the loop is free: this runs on it
    assert not asked.done()
    assert world.log[-1] != "start_analysis"
    go_on.set()
    assert (await asked).status == 200
    await world.driver.stop()


async def test_a_disk_that_refuses_ends_new_work_until_it_has_taken_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "BUSY_MS", 100)
    world = World(tmp_path)
    await world.launched()
    other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert (await world.driver.ask(start("first"))).status == 200  # nobody knew
    refused = await world.driver.ask(start("second"))
    assert refused.status == 503
    assert "cannot be written" in refused.body["detail"]
    assert (await world.driver.ask(Cancel("c", "first"))).status == 200
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(20):  # by itself: nothing happens meanwhile
        while world.store.problem is not None:  # it is asked
            await asyncio.sleep(0.05)
    assert (await world.driver.ask(start("second"))).status == 200
    await world.driver.stop()
    assert set(Store(tmp_path / "c.sqlite").load()["request"]) == {"first", "second"}
