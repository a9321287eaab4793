"""Patches of a worker, to a program that takes them more slowly than they come."""

import asyncio
import contextlib

import pytest
from websockets.exceptions import ConnectionClosed

from siwatsystem.client import Client, PatchSessionOut, patches
from siwatsystem.patches import Patches
from tests.client.scripted import Script, play, scripted, until

KEEP_SEC = 3600.0


def kept(sessions: int) -> Patches:
    """What a worker has to tell of so many sessions."""
    late = Patches(KEEP_SEC)
    for number in range(sessions):
        late.late("display-1", number, {"carBrand": "Honda"}, captured_at=0.0, now=0.0)
    return late


async def tell(script: Script, late: Patches, *, singly: bool = False) -> None:
    """Send what is due over the present connection; `singly`, each when the one before is answered."""
    for count, (_, patch) in enumerate(late.due(lambda display: script.connections, now=0.0), 1):
        await script.send({"type": "patchSession", **patch.model_dump(by_alias=True, exclude_unset=True)})
        if singly:
            await until(lambda: len(script.answers) == count)  # noqa: B023


def test_what_finds_no_room_is_sent_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(patches, "MOST_WAITING", 8)
    late, taken = kept(12), list[int | str | None]()

    async def scene() -> None:
        there = asyncio.Event()

        async def take(patch: PatchSessionOut) -> None:
            await there.wait()
            taken.append(patch.session_id)

        async with scripted() as (url, script), Client(url, on_patch=take) as client:
            with contextlib.suppress(ConnectionClosed):
                await tell(script, late)
            await until(lambda: script.connections == 2)
            assert client.losses == 1
            late.lost(1)
            there.set()
            await tell(script, late, singly=True)
            for answer in script.answers:
                assert late.answered(2, answer["sessionId"], answer["success"])
            assert not len(late)

    play(scene)
    assert set(taken) == set(range(12))
    assert [one for one in caplog.messages if "8 patches wait for on_patch" in one]


def test_an_answer_is_never_taken_for_that_to_a_later_message():
    late, taken = kept(1), list[PatchSessionOut]()

    async def scene() -> None:
        there = asyncio.Event()

        async def take(patch: PatchSessionOut) -> None:
            await there.wait()
            taken.append(patch)

        async with scripted() as (url, script), Client(url, on_patch=take) as client:
            heard = client.patches()
            await tell(script, late)
            await anext(heard)
            await script.cut()
            await until(lambda: script.connections == 2)
            late.lost(1)
            late.late("display-1", 0, {"carModel": "City"}, captured_at=1.0, now=1.0)
            await tell(script, late)
            there.set()
            await until(lambda: len(taken) == 2 and script.answers)
            await asyncio.sleep(0.1)
            assert len(script.answers) == 1

    play(scene)
    assert [one.data.current_car.car_model for one in taken] == [None, "City"]
