"""Following what happens: a snapshot, numbered changes, going on from where one was."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from siwatsystem.config import Settings
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.driver import Driver
from siwatsystem.deepstream.events import Register
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.routes import events
from siwatsystem.deepstream.service import Service
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.snapshots import Snapshots
from siwatsystem.deepstream.store import Store
from tests.deepstream.site import FakeLauncher
from tests.deepstream.test_driver import Lines

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Served:
    """What of the service a follower sees."""

    driver: Driver
    closing: bool = False
    followers: int = 0
    snapshots: Snapshots = field(default_factory=Snapshots)
    settings: Settings = field(default_factory=Settings)

    @property
    def control(self) -> Control:
        return self.driver.control

    async def register(self, name: str) -> None:
        await self.driver.ask(Register(f"c-{name}", name, Spec("/a.txt", 1)))

    def follow(self, last_id: str | None = None) -> AsyncIterator[bytes]:
        return events.follow(cast(Service, self), last_id)


@contextlib.asynccontextmanager
async def served(folder: Path, **limits: Any) -> AsyncIterator[Served]:
    driver = Driver(
        Control(Limits(**limits), epoch="e"),
        Store(folder / "c.sqlite"),
        FakeLauncher(lambda event: None),
        Lines([]),
        started=time.time(),
    )
    driver.start()
    yield Served(driver)
    await driver.stop()


def parsed(text: bytes) -> list[tuple[str, str, Any]]:
    """Kind, id and data of each event."""
    found: list[tuple[str, str, Any]] = []
    for block in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], lines["id"], json.loads(lines["data"])))
    return found


async def test_a_snapshot_and_then_what_changes(tmp_path: Path):
    async with served(tmp_path) as one:
        await one.register("a")
        stream = one.follow()
        assert await anext(stream) == b"retry: 2000\n\n"
        ((kind, number, snapshot),) = parsed(await anext(stream))
        assert kind == "snapshot"
        assert snapshot["id"] == number
        assert [app["instance_id"] for app in snapshot["apps"]] == ["a"]
        await one.register("b")
        changes = parsed(await anext(stream))
        assert {kind for kind, _, _ in changes} == {"change"}
        assert changes[0][2]["kind"] == "app"
        assert changes[0][2]["key"] == "b"
        assert [number for _, number, _ in changes] == sorted(number for _, number, _ in changes)


async def test_one_goes_on_from_where_it_was(tmp_path: Path):
    async with served(tmp_path) as one:
        await one.register("a")
        last = one.control.snapshot()["id"]
        await one.register("b")
        stream = one.follow(last)
        await anext(stream)
        assert {change["key"].partition("/")[0] for _, _, change in parsed(await anext(stream))} == {"b"}


@pytest.mark.parametrize("last", ["other-1", "e-999999", "e-x", "", "e-0"])
async def test_what_is_not_kept_begins_anew(tmp_path: Path, last: str):
    async with served(tmp_path, changes=3) as one:
        for name in "abc":
            await one.register(name)
        stream = one.follow(last)
        await anext(stream)
        assert parsed(await anext(stream))[0][0] == "snapshot"


async def test_silence_is_told_and_the_end_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "HEARTBEAT_SEC", 0.05)
    async with served(tmp_path) as one:
        stream = one.follow()
        for _ in range(2):
            await anext(stream)
        assert await anext(stream) == b": still here\n\n"
        one.closing = True
        async with asyncio.timeout(10):
            assert {text async for text in stream} <= {b": still here\n\n"}


async def respond(one: Served, send: Any, asgi: str = "2.3") -> None:
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": asgi}}
    await events.Following(cast(Service, one), None)(scope, receive, send)


@pytest.mark.parametrize("asgi", ["2.3", "2.4"])
async def test_a_follower_that_takes_nothing_gives_its_place_back(tmp_path: Path, asgi: str):
    async with served(tmp_path) as one:
        one.settings = Settings.model_validate({"websocket": {"send_timeout_sec": 0.2}})

        async def full(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        follower = asyncio.create_task(respond(one, full, asgi))
        await asyncio.sleep(0.05)
        assert one.followers == 1
        async with asyncio.timeout(10):
            await follower
        assert one.followers == 0


async def test_no_burst_gets_past_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "MAX_CLIENTS", 3)
    async with served(tmp_path) as one:
        statuses: list[int] = []

        async def take(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        followers = [asyncio.create_task(respond(one, take)) for _ in range(5)]
        async with asyncio.timeout(10):
            while len(statuses) < 5:
                await asyncio.sleep(0.01)
        assert sorted(statuses) == [200, 200, 200, 503, 503]
        one.closing = True
        await one.register("a")
        async with asyncio.timeout(10):
            await asyncio.gather(*followers)
        assert one.followers == 0


async def test_who_comes_at_the_same_time_is_given_the_same_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with served(tmp_path) as one:
        made: list[int] = []
        snapshot = Control.snapshot
        monkeypatch.setattr(Control, "snapshot", lambda control: (made.append(1), snapshot(control))[1])  # pyright: ignore
        await one.register("a")
        for name in "bcd":
            stream = one.follow()
            await anext(stream)
            ((_, _, found),) = parsed(await anext(stream))
            assert [app["instance_id"] for app in found["apps"]] == ["a"]
            await one.register(name)
            assert "b" in {change["key"] for _, _, change in parsed(await anext(stream))}
        assert made == [1]


async def test_after_a_while_a_client_has_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "LONGEST_SEC", 0.2)
    monkeypatch.setattr(events, "HEARTBEAT_SEC", 0.05)
    async with served(tmp_path) as one, asyncio.timeout(10):
        assert [text async for text in one.follow()][-1] == b": still here\n\n"
