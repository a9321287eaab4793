"""Old objects are looked through by the clock, not by their number."""

import asyncio
import gc

import pytest

from siwatsystem.deepstream import garbage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ring:
    """Only the collector finds out that nobody needs it."""

    alive = 0

    def __init__(self) -> None:
        Ring.alive += 1
        self.self = self

    def __del__(self) -> None:
        Ring.alive -= 1


async def test_what_is_known_is_looked_through_by_the_clock_only():
    before = gc.get_threshold()
    task = asyncio.create_task(garbage.seldom(0.2))
    await asyncio.sleep(0)
    try:
        old = Ring()
        gc.collect()
        collections = gc.get_stats()[2]["collections"]
        kept = [[] for _ in range(300_000)]  # type: ignore[var-annotated]
        assert gc.get_stats()[2]["collections"] == collections
        assert gc.get_stats()[0]["collections"] > 0
        del old, kept
        assert Ring.alive == 1
        async with asyncio.timeout(20):
            while Ring.alive:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert gc.get_threshold() == before
