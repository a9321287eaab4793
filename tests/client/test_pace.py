"""What is sent is never more than a worker allows."""

import asyncio

import pytest

from siwatsystem.client import (
    Client,
    Disconnected,
    NoAnswer,
    link,
    pace,
)
from siwatsystem.client.connection import text_of
from siwatsystem.client.patches import AT_A_TIME
from siwatsystem.client.wanted import patch_session
from siwatsystem.delivery import Outbound
from siwatsystem.messages import PatchSessionResult
from siwatsystem.sections import WebSocketSettings
from siwatsystem.session import Close, Conversation, TokenBucket
from tests.client.scripted import play, scripted, until


def test_many_messages_at_once_are_paced_as_a_worker_allows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "AT_ONCE", 20)
    monkeypatch.setattr(pace, "A_SECOND", 200.0)

    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            script.bucket = TokenBucket(200.0, 30)
            async with asyncio.TaskGroup() as group:
                for number in range(120):
                    group.create_task(client.patch_session(number, {}))
            assert script.connections == 1

    play(scene)


def test_a_worker_that_allows_less_is_told_everything_over_a_later_connection(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(link, "FIRST_PAUSE_SEC", 0.05)
    monkeypatch.setattr(pace, "AT_ONCE", 40)
    monkeypatch.setattr(pace, "A_SECOND", 400.0)

    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            script.allows = lambda: TokenBucket(120.0, 12)
            await script.cut()
            for number in range(40):
                await client.set_session(f"display-{number}", number)
            await until(lambda: script.heard_here == 40)
            assert script.connections > 2

    play(scene)


def test_the_answers_of_as_many_patches_have_room_in_a_worker():
    outbound = Outbound(WebSocketSettings(), 1000)
    for number in range(2 * AT_A_TIME):
        answer = {"sessionId": f"{number:0100d}", "success": True, "message": "merged"}
        assert outbound.put_reply(PatchSessionResult.model_validate({"payload": answer}))


def test_no_more_patches_wait_for_answers_than_a_worker_lets_wait():
    async def scene() -> None:
        async with scripted(silent=True) as (url, script), Client(url) as client:
            waiting = [asyncio.create_task(client.patch_session(n, {})) for n in range(AT_A_TIME * 3)]
            await until(lambda: script.heard == AT_A_TIME)
            await asyncio.sleep(0.3)
            assert script.heard == AT_A_TIME
            waiting[0].cancel()
            await until(lambda: script.heard == AT_A_TIME + 1)
            await client.close()
            await asyncio.gather(*waiting, return_exceptions=True)

    play(scene)


def test_no_pace_of_ours_is_too_fast_for_a_worker_or_slow_at_first():
    settings = WebSocketSettings()
    conversation = Conversation(settings)
    text = text_of(patch_session("v", {"x": "y" * 10_000}))
    now, last = 0.0, pace.Pace(0.0)
    for number in range(20_000):
        short = number % 5 > 0
        sent = '{"type": "requestState"}' if short else text
        delay = last.delay(len(sent), now)
        assert number > 500 or delay == 0
        now += delay
        effects = conversation.receive(sent, now)
        assert not any(isinstance(effect, Close) for effect in effects), number


def test_who_waits_for_its_turn_hears_at_once_that_the_connection_is_gone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "AT_ONCE", 1)
    monkeypatch.setattr(pace, "A_SECOND", 0.01)

    async def scene() -> None:
        async with scripted() as (url, script), Client(url) as client:
            await client.patch_session(0, {})
            with pytest.raises(NoAnswer, match="not sent"):
                await client.request_state(timeout=0.2)
            waiting = [asyncio.create_task(client.patch_session(n, {}, timeout=30)) for n in range(1, 4)]
            await asyncio.sleep(0.1)
            await script.cut()
            async with asyncio.timeout(10):
                ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in ended] == [Disconnected] * 3

    play(scene)
