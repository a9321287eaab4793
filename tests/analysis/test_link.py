import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from siwatsystem.analysis import link as module
from siwatsystem.analysis.link import HandshakeRefused, Link, Pace
from siwatsystem.deepstream.messages import AppMessage, ServerMessage
from siwatsystem.deepstream.to_server import AnalysisStatus, AppReady, AppTerminated, FileDone
from tests.analysis.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.stop()


def ready(reconnection: bool, code: int | None) -> AppReady:
    again = {"reconnection": True, "last_close_code": code} if reconnection else {}
    return AppReady(instance_id="one", config_path="/a", streams_count=1, **again)  # pyright: ignore


def answer(message: ServerMessage) -> Sequence[AppMessage]:
    return [AnalysisStatus(request_id=message.request_id, streams=[])]  # pyright: ignore


def done(number: int) -> FileDone:
    return FileDone(stream_id=0, camera_id=1, file_id=number)  # pyright: ignore


@asynccontextmanager
async def linked(server: ScriptedServer) -> AsyncIterator[Link]:
    link = Link(server.url, None, ready, answer)
    running = asyncio.ensure_future(link.run())
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def waited(server: ScriptedServer, kind: str) -> dict[str, object]:
    return await asyncio.to_thread(server.wait, kind, 30)


def numbers(server: ScriptedServer) -> list[int]:
    return [one["file_id"] for one in server.all("file_done")]


async def test_a_server_that_has_no_room_or_goes_is_tried_again(server):
    server.refusals = [1013, 1001]
    async with linked(server) as link:
        said = await waited(server, "app_ready")
        assert said["reconnection"] is False
        assert server.refusals == []
        while not link.connected:
            await asyncio.sleep(0.01)


async def test_what_may_not_have_arrived_is_told_again_before_anything_is_answered(server, monkeypatch):
    monkeypatch.setattr(module, "CONFIRM_SEC", 1000.0)
    async with linked(server) as link:
        await waited(server, "app_ready")
        for number in range(3):
            link.tell_soon(done(number), is_fact=True)
        link.tell_soon(AnalysisStatus(streams=[]), is_fact=False)  # pyright: ignore
        await waited(server, "analysis_status")
        await asyncio.to_thread(server.stop, 1001)
        server.said.clear()
        link.tell_soon(done(3), is_fact=True)
        link.tell_soon(AnalysisStatus(streams=[]), is_fact=False)  # pyright: ignore
        server.start()
        again = await waited(server, "app_ready")
        assert (again["reconnection"], again["last_close_code"]) == (True, 1001)
        server.send("query_analysis_status", request_id="q")
        await waited(server, "analysis_status")
        assert numbers(server) == [0, 1, 2, 3]
        assert [one["type"] for one in server.said][-1] == "analysis_status"
        assert len(server.all("analysis_status")) == 1


async def test_what_has_arrived_is_told_once(server, monkeypatch):
    monkeypatch.setattr(module, "CONFIRM_SEC", 0.05)
    async with linked(server) as link:
        await waited(server, "app_ready")
        link.tell_soon(done(1), is_fact=True)
        await waited(server, "file_done")
        while link._facts:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.stop, 1001)
        server.said.clear()
        server.start()
        await waited(server, "app_ready")
        link.tell_soon(done(2), is_fact=True)
        await waited(server, "file_done")
        assert numbers(server) == [2]


async def test_it_floods_nobody(server):
    count = module.BURST + 200
    async with linked(server) as link:
        await waited(server, "app_ready")
        began = time.monotonic()
        for number in range(count):
            link.tell_soon(done(number), is_fact=True)
        while len(numbers(server)) < count:
            await asyncio.sleep(0.05)
            assert time.monotonic() - began < 100
        assert time.monotonic() - began > 200 / module.RATE * 0.9
        assert numbers(server) == list(range(count))


def test_a_long_silence_allows_no_more_than_a_burst():
    pace = Pace(100.0, 1000)
    assert max(pace.wait(0.0) for _ in range(1000)) < 1e-6
    assert pace.wait(0.0) == pytest.approx(0.01)
    assert max(pace.wait(3600.0) for _ in range(1000)) < 1e-6
    assert pace.wait(3600.0, 50) == pytest.approx(0.5)


async def test_a_refusal_ends_it_with_its_reason(server):
    server.status = "error"
    with pytest.raises(HandshakeRefused, match="CONFIG_MISMATCH"):
        await Link(server.url, None, ready, answer).run()
    server.status, server.refusals = "ok", [1008]
    with pytest.raises(HandshakeRefused):
        await Link(server.url, None, ready, answer).run()


async def test_an_app_that_nobody_knows_is_told_who_it_is_and_what_to_do(server):
    server.status = "error"
    server.problem = {"error_code": "UNKNOWN_INSTANCE", "error_message": "no such instance"}
    with pytest.raises(HandshakeRefused) as refused:
        await Link(server.url, None, ready, answer).run()
    text = refused.value.message
    assert text.startswith("the server refuses instance one (UNKNOWN_INSTANCE): no such instance. ")
    assert all(way in text for way in ("/deepstream/launch", "--instance-id", "control.sample_data"))


async def test_the_last_word_is_heard(server):
    async with linked(server) as link:
        await waited(server, "app_ready")
        while not link.connected:
            await asyncio.sleep(0.01)
        await link.finish(AppTerminated(status="ok", message="bye"), 10)
        assert (await waited(server, "app_terminated"))["message"] == "bye"


async def test_junk_of_a_server_changes_nothing(server):
    async with linked(server) as link:
        await waited(server, "app_ready")
        while not link.connected:
            await asyncio.sleep(0.01)
        server.send("no_such_type")
        server.send("start_analysis", stream_id="x")
        server.send("query_analysis_status", request_id="q")
        assert (await waited(server, "analysis_status"))["request_id"] == "q"


async def test_what_is_told_again_counts_as_arrived_only_once_it_has(server, monkeypatch):
    monkeypatch.setattr(module, "CONFIRM_SEC", 1000.0)
    async with linked(server) as link:
        await waited(server, "app_ready")
        for number in range(30):
            link.tell_soon(done(number), is_fact=True)
        while len(numbers(server)) < 30:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(module, "CONFIRM_SEC", 0.01)
        monkeypatch.setattr(module, "BURST", 1)
        monkeypatch.setattr(module, "RATE", 20.0)
        await asyncio.to_thread(server.stop, 1001)
        server.said.clear()
        server.start()
        await waited(server, "file_done")
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.stop, 1001)
        server.start()
        deadline = time.monotonic() + 60
        while set(numbers(server)) != set(range(30)):
            await asyncio.sleep(0.05)
            assert time.monotonic() < deadline, numbers(server)
