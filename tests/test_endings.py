"""Calls that end something, within a limit."""

import asyncio
import threading

from siwatsystem.endings import ended_within


def test_what_ends_in_time_and_what_fails_are_over_and_what_hangs_is_left():
    go = threading.Event()

    def fail() -> None:
        raise OSError("broken")

    async def scene() -> list[bool]:
        return [
            await ended_within(lambda: None, 30.0, "close-well"),
            await ended_within(fail, 30.0, "close-broken"),
            await ended_within(lambda: go.wait(30), 0.05, "close-hung"),
        ]

    assert asyncio.run(scene()) == [True, True, False]
    assert "close-hung" in {thread.name for thread in threading.enumerate()}
    go.set()
