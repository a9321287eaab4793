"""What is wanted: acknowledged, refused, replaced, taken over."""

import asyncio

import pytest

from siwatsystem.client import (
    Client,
    NoAnswer,
    Refused,
    WorkerError,
)
from siwatsystem.client.failures import MOST
from siwatsystem.client.wanted import Wanted, set_session, subscribe
from siwatsystem.conformance.stand import Stand
from siwatsystem.errors import MOST_TEXT
from siwatsystem.messages import StateReport, Subscribe
from tests.client.scripted import NAME, REPORT, asked, play, scripted, until
from tests.fake_worker import Running


def test_a_replacement_that_is_refused_leaves_what_was_there(cameras: Stand):
    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            await client.subscribe(NAME, **asked(cameras, model_name="first"))
            script.refuse = "max_streams_reached"
            errors = client.errors(NAME)
            with pytest.raises(Refused, match="max_streams_reached"):
                await client.subscribe(NAME, **asked(cameras, model_name="second"))
            assert isinstance(await anext(errors), WorkerError)
            script.refuse = ""
            script.taken.clear()
            await script.cut()
            await until(lambda: script.taken)
            assert script.taken[0]["payload"]["modelName"] == "first"

    play(scene)


def test_what_is_asked_for_while_a_connection_is_greeted_is_left_to_who_asks():
    wanted = Wanted()
    for number in range(3):
        wanted.sessions[f"display-{number}"] = number
        name = f"display-{number};cam"
        fields = {"subscriptionIdentifier": name, "rtspUrl": "rtsp://x/", "modelUrl": "x", "modelName": "x"}
        wanted.subscriptions[name] = subscribe({**fields, "modelId": 1})
    said = wanted.commands()
    assert next(said) == set_session("display-0", 0)
    wanted.sessions["display-2"] = "new"
    del wanted.subscriptions["display-1;cam"]
    assert next(said) == set_session("display-1", 1)
    names = [command.payload.subscription_identifier for command in said if isinstance(command, Subscribe)]
    assert names == ["display-0;cam", "display-2;cam"]


def test_what_is_asked_for_as_soon_as_a_connection_is_there_is_said_once(cameras: Stand):
    async def scene() -> None:
        async with scripted() as (url, script):
            for number in range(10):
                async with Client(url) as client:
                    await client.set_session("display-1", number)
                    await client.subscribe(NAME, **asked(cameras))
                    await client.request_state()
                    assert (script.heard_here, len(script.taken)) == (3, 1)
                script.taken.clear()

    play(scene)


def test_a_replacement_is_not_taken_for_acknowledged_by_a_report_that_was_under_way(cameras: Stand):
    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            await client.subscribe(NAME, **asked(cameras))
            script.late, script.refuse = script.entry(), "max_streams_reached"
            with pytest.raises(Refused, match="max_streams_reached"):
                await client.subscribe(NAME, **asked(cameras, rtsp_url=cameras.video("b")))
            script.refuse, script.late = "", None
            await client.subscribe(NAME, **asked(cameras, rtsp_url=cameras.video("c")))
            script.taken.clear()
            await script.cut()
            await until(lambda: script.taken)
            assert script.taken[0]["payload"]["rtspUrl"] == cameras.video("c")

    play(scene)


def test_one_that_is_refused_does_not_end_what_was_asked_for_since():
    wanted = Wanted()
    fields = {"subscriptionIdentifier": NAME, "rtspUrl": "rtsp://x/", "modelUrl": "x", "modelName": "x"}
    first, second, third = (subscribe({**fields, "modelId": number}) for number in range(3))
    before = [wanted.put(command) for command in (first, second, third)]
    assert [one.command for one in before] == [None, first, second]
    wanted.undo(second, before[1])
    assert wanted.subscriptions[NAME] is third
    wanted.undo(third, before[2])
    assert wanted.subscriptions[NAME] is second
    wanted.drop(NAME)
    wanted.undo(second, before[1])
    assert NAME not in wanted.subscriptions


def test_one_that_is_refused_leaves_what_was_taken_over_to_its_taker():
    wanted = Wanted()
    fields = {"subscriptionIdentifier": NAME, "rtspUrl": "rtsp://x/", "modelUrl": "x", "modelName": "x"}
    first, second = (subscribe({**fields, "modelId": number}) for number in range(2))
    wanted.put(first)
    listed = {"subscriptionIdentifier": NAME, "modelId": 0, "modelName": "x", "online": True}
    assert wanted.hear(StateReport.model_validate({**REPORT, "cameraConnections": [listed]})) == []
    assert wanted.hear(StateReport.model_validate(REPORT)) == [NAME]
    before = wanted.put(second)
    assert list(wanted.commands()) == [second]
    wanted.undo(second, before)
    assert wanted.subscriptions[NAME] is first
    assert list(wanted.commands()) == []


def test_what_was_taken_over_is_told_to_who_waits_for_it(worker: Running, cameras: Stand):
    async def scene() -> None:
        async with Client(worker.url) as first, Client(worker.url) as second:
            await first.subscribe(NAME, **asked(cameras))
            await second.subscribe(NAME, **asked(cameras))
            with pytest.raises(NoAnswer, match="another connection took it over"):
                await first.until_online(NAME, timeout=1)
            with pytest.raises(NoAnswer, match="it was not subscribed here"):
                await second.until_online("display-9;cam", timeout=1)

    play(scene)


def test_what_was_taken_over_is_not_taken_back_with_the_next_connection(
    worker: Running, cameras: Stand, caplog: pytest.LogCaptureFixture
):
    async def scene() -> None:
        async with Client(worker.url) as first, Client(worker.url) as second:
            await first.subscribe("display-0;cam", **asked(cameras))
            await first.subscribe(NAME, **asked(cameras))
            await second.subscribe(NAME, **asked(cameras))
            await until(lambda: [record for record in caplog.records if "took over" in record.getMessage()])
            await asyncio.to_thread(worker.drop)
            await until(lambda: not first.is_connected and not second.is_connected)
            await second.until_online(NAME)
            await first.until_online("display-0;cam")
            held = (await first.request_state()).camera_connections
            assert [one.subscription_identifier for one in held] == ["display-0;cam"]
            await first.subscribe(NAME, **asked(cameras))
            await asyncio.to_thread(worker.drop)
            await until(lambda: not first.is_connected)
            await first.until_online(NAME)

    play(scene)
    (said,) = {record.getMessage() for record in caplog.records if "took over" in record.getMessage()}
    assert NAME in said


def test_why_it_is_not_online_is_told_also_where_the_worker_said_so_at_once(cameras: Stand):
    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            script.fails = ("stream_refused", "model_download_failed")
            await client.subscribe(NAME, **asked(cameras))
            with pytest.raises(NoAnswer, match=r" s: told: stream_refused; told: model_download_failed$"):
                await client.until_online(NAME, timeout=0.1)
            script.fails = ()
            await client.subscribe(NAME, **asked(cameras))
            with pytest.raises(NoAnswer, match=r"not online within 0.1 s$"):
                await client.until_online(NAME, timeout=0.1)

    play(scene)


def told(code: str, text: str = "", identifier: str = NAME, **more: bool) -> WorkerError:
    fields = {"error": text or code, "code": code, "subscriptionIdentifier": identifier}
    return WorkerError.model_validate({**fields, **more})


def failing(number: int = 0, *codes: str) -> tuple[Wanted, Subscribe]:
    """One subscription, of which a worker said `codes`."""
    fields = {"subscriptionIdentifier": NAME, "rtspUrl": "rtsp://x/", "modelUrl": "x", "modelName": "x"}
    wanted, command = Wanted(), subscribe({**fields, "modelId": number})
    wanted.put(command)
    for code in codes:
        wanted.fails(told(code))
    return wanted, command


def test_of_what_fails_the_newest_of_each_kind_is_known_until_it_is_over():
    wanted, _ = failing(0, "stream_unreachable", "model_invalid", "stream_unauthorized")
    assert wanted.failures.of(NAME) == ["model_invalid", "stream_unauthorized"]
    wanted.fails(told("stream_unauthorized", "the camera delivers frames", resolved=True))
    assert wanted.failures.of(NAME) == ["model_invalid"]
    wanted.fails(told("model_invalid", resolved=True))
    assert wanted.failures.of(NAME) == []


def test_what_is_known_to_fail_is_bounded():
    wanted, _ = failing()
    for number in range(100):
        wanted.fails(told(f"of{number}_tomorrow", "x" * 10_000))
        wanted.fails(told("stream_lost", identifier=f"display-{number};cam"))
    known = wanted.failures.of(NAME)
    assert (len(known), {len(text) for text in known}) == (MOST, {MOST_TEXT})
    assert not wanted.failures.of("display-7;cam"), "nobody wants it here"


def test_what_failed_is_forgotten_with_what_it_was_said_of():
    wanted, command = failing(0, "stream_lost")
    wanted.put(command)
    assert not wanted.failures.of(NAME), "subscribed anew"
    wanted.fails(told("stream_lost"))
    wanted.commands()
    assert not wanted.failures.of(NAME), "said to a new connection, which tells it again"
    wanted.fails(told("stream_lost"))
    wanted.drop(NAME)
    assert not wanted.failures.of(NAME), "unsubscribed"


def test_what_failed_is_forgotten_when_another_connection_takes_it_over():
    wanted, _ = failing(0, "stream_lost")
    listed = {"subscriptionIdentifier": NAME, "modelId": 0, "modelName": "x", "online": False}
    wanted.hear(StateReport.model_validate({**REPORT, "cameraConnections": [listed]}))
    assert wanted.failures.of(NAME) == ["stream_lost"]
    assert wanted.hear(StateReport.model_validate(REPORT)) == [NAME]
    assert not wanted.failures.of(NAME)


def test_a_replacement_that_is_refused_leaves_what_failed_before():
    wanted, first = failing(0, "stream_lost")
    second = failing(1)[1]
    before = wanted.put(second)
    wanted.fails(told("max_streams_reached"))
    wanted.undo(second, before)
    assert wanted.subscriptions[NAME] is first
    assert wanted.failures.of(NAME) == ["stream_lost"]
