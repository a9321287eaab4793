"""The client against a worker on real sockets."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable
from typing import Any

import pytest

from siwatsystem.client import (
    Client,
    ClientError,
    Disconnected,
    Feed,
    NoAnswer,
    NoImage,
    PatchRefused,
    PatchSessionOut,
    Unreachable,
    Unreadable,
)
from siwatsystem.conformance import archive, pattern
from siwatsystem.conformance.stand import Stand
from tests.client.scripted import NAME, REPORT, asked, play, scripted, until
from tests.fake_worker import Running, fake_worker


def test_a_subscription_from_its_beginning_to_its_end(worker: Running, cameras: Stand):
    async def scene() -> None:
        async with Client(worker.url) as client:
            detections = client.detections()
            await client.set_session("display-1", "visit-7")
            await client.subscribe(NAME, **asked(cameras))
            assert client.state is not None
            assert [one.subscription_identifier for one in client.state.camera_connections] == [NAME]
            await client.until_online(NAME)
            seen = await anext(detections)
            assert (seen.subscription_identifier, seen.session_id) == (NAME, "visit-7")
            assert archive.number_of_brand(seen.data.detection["carBrand"]) is not None
            picture = pattern.decode(await client.image(NAME))
            assert picture is not None
            assert picture.shape == (pattern.SIZE, pattern.SIZE, 3)
            await client.subscribe(NAME, **asked(cameras, crop=(10, 20, 110, 100)))
            entry = client.state.camera_connections[0]
            assert (entry.crop_x1, entry.crop_y1, entry.crop_x2, entry.crop_y2) == (10, 20, 110, 100)
            cropped = pattern.decode(await client.image(NAME, overlay=True))
            assert cropped is not None
            assert cropped.shape == (80, 100, 3)
            whole = pattern.decode(await client.image(NAME, full=True))
            assert whole is not None
            assert whole.shape == picture.shape
            await client.unsubscribe(NAME)
            assert (await client.request_state()).camera_connections == []
            with pytest.raises(NoImage) as missing:
                await client.image(NAME)
            assert missing.value.status == 404

    play(scene)


def test_after_a_lost_connection_everything_is_said_again(worker: Running, cameras: Stand):
    async def scene() -> None:
        async with Client(worker.url) as client:
            await client.set_session("display-1", 77)
            await client.subscribe(NAME, **asked(cameras))
            detections = client.detections(NAME)
            await anext(detections)
            assert client.losses == 0
            await asyncio.to_thread(worker.drop)
            await until(lambda: not client.is_connected)
            assert client.losses == 1
            await client.until_connected()
            for _ in range(len(detections) + 1):
                await anext(detections)
            assert (await anext(detections)).session_id == 77
            assert cameras.asked("a").streams == 1

    play(scene)


def test_a_worker_that_restarts_is_found_again(cameras: Stand):
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with pytest.raises(Unreachable):
            async with Client(f"ws://127.0.0.1:{port}/", connect_timeout=0.5):
                pass
        async with contextlib.AsyncExitStack() as stack:
            client = Client(f"ws://127.0.0.1:{port}/", connect_timeout=20)
            entering = asyncio.create_task(client.__aenter__())
            await asyncio.sleep(0.3)
            with fake_worker(port=port):
                await entering
                stack.push_async_exit(client)
                await client.subscribe(NAME, **asked(cameras))
            await until(lambda: not client.is_connected)
            with pytest.raises(Disconnected):
                await client.patch_session(1, {})
            with pytest.raises(NoAnswer, match="not connected"):
                await client.request_state(timeout=0.1)
            with fake_worker(port=port):
                await client.until_online(NAME)

    play(scene)


def test_patches_go_both_ways(cameras: Stand):
    taken: list[PatchSessionOut] = []

    async def take(patch: PatchSessionOut) -> None:
        if patch.session_id == "bad":
            raise LookupError("no such session")
        taken.append(patch)

    async def scene() -> None:
        async with scripted() as (url, script), Client(url, on_patch=take) as client:
            patches = client.patches()
            for session in ("visit-1", "bad"):
                car = {"currentCar": {"carBrand": "Honda", "carYear": "2021", "later": 1}}
                await script.send({"type": "patchSession", "sessionId": session, "data": car})
            await until(lambda: len(script.answers) == 2)
            assert script.answers[0] == {"sessionId": "visit-1", "success": True, "message": ""}
            assert script.answers[1] == {"sessionId": "bad", "success": False, "message": "no such session"}
            assert [patch.session_id for patch in taken] == ["visit-1"]
            assert (await anext(patches)).data.current_car.car_year == 2021
            await client.patch_session(5, {"qrCode": None})
            script.merges = False
            with pytest.raises(PatchRefused, match="too large"):
                await client.patch_session("5", {})

    play(scene)


def test_messages_that_nobody_knows_harm_nothing():
    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            messages, states, errors = client.messages(), client.states(), client.errors()
            unknown: tuple[Any, ...] = ("{", "[]", '{"type": "tomorrow", "a": 1}', '{"type": "stateReport"}')
            for text in unknown:
                await script.send(text)
            await script.send({"type": "error", "error": "new", "code": "of_tomorrow", "more": []})
            await script.send({**REPORT, "more": {"a": 1}, "cameraConnections": []})
            assert (await anext(states)).cpu_usage == 12.5
            assert (await anext(errors)).code == "of_tomorrow"
            found = [await anext(messages) for _ in unknown]
            assert [type(one) for one in found] == [Unreadable] * len(unknown)
            assert "tomorrow" in found[2].reason
            assert client.is_connected

    play(scene)


def test_messages_that_nobody_knows_do_not_fill_the_log(caplog: pytest.LogCaptureFixture):
    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            feed = client.messages()
            for number in range(20):
                await script.send(f"no json {number}")
            for _ in range(20):
                await anext(feed)

    play(scene)
    said = [record for record in caplog.records if "does not know" in record.getMessage()]
    assert len(said) == 1


def test_a_worker_that_says_nothing_is_given_up():
    async def scene() -> None:
        async with scripted(silent=True) as (url, script), Client(url, silence=0.3) as client:
            await until(lambda: script.connections >= 2)
            with pytest.raises(NoAnswer):
                await client.request_state(timeout=0.2)

    play(scene)


def test_feeds_are_bounded_and_forgotten_with_who_held_them():
    async def scene() -> None:
        async with scripted() as (url, script), Client(url, backlog=3) as client:
            feed = client.states()
            for number in range(6):
                await script.send({**REPORT, "cpuUsage": number})
            await until(lambda: client.state is not None and client.state.cpu_usage == 5)
            assert feed.dropped >= 3
            assert [(await anext(feed)).cpu_usage for _ in range(3)] == [3, 4, 5]
            del feed
            gc.collect()
            assert not client._feeds._open  # pyright: ignore[reportPrivateUsage]

    play(scene)


def test_feeds_end_with_the_client(worker: Running):
    async def scene() -> None:
        async with Client(worker.url) as client:
            feed: Feed[Any] = client.detections()
        assert [one async for one in feed] == []
        assert [one async for one in client.states()] == []

    play(scene)


def test_after_closing_nothing_waits_any_more(cameras: Stand):
    async def scene() -> None:
        async with scripted(silent=True) as (url, script), Client(url) as client:
            waiting: list[asyncio.Task[Any]] = [
                asyncio.create_task(client.subscribe(NAME, **asked(cameras), timeout=30)),
                asyncio.create_task(client.until_online(NAME, timeout=30)),
                asyncio.create_task(client.request_state(timeout=30)),
                asyncio.create_task(client.patch_session("v", {}, timeout=30)),
                asyncio.create_task(client.patch_session("v", {}, timeout=30)),
            ]
            await until(lambda: script.connections)
            await client.close()
            later: list[Awaitable[Any]] = [
                client.subscribe(NAME, **asked(cameras), timeout=30),
                client.request_state(timeout=30),
                client.until_connected(30),
                client.set_session("display-1", 7),
                client.patch_session("v", {}, timeout=30),
            ]
            async with asyncio.timeout(10):
                ended = await asyncio.gather(*waiting, *later, return_exceptions=True)
        assert [(type(one), str(one)) for one in ended] == [(ClientError, "this client was closed")] * 10

    play(scene)


def test_closing_while_there_is_no_connection_wakes_who_waits():
    async def scene() -> None:
        client = Client("ws://127.0.0.1:1/", connect_timeout=30)
        entering = asyncio.create_task(client.__aenter__())
        await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            await client.close()
            with pytest.raises(ClientError, match="closed"):
                await entering

    play(scene)


def test_it_needs_little():
    import subprocess
    import sys

    code = "import sys, siwatsystem.client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {
        "numpy",
        "cv2",
        "av",
        "torch",
        "openvino",
        "onnxruntime",
        "fastapi",
        "uvicorn",
        "redis",
        "requests",
    }
    assert not heavy & set(loaded.split())
