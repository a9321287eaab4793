"""Calls that end something and may hang: waited for within a limit, then left behind."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


async def ended_within(end: Callable[[], object], limit: float, name: str) -> bool:
    """Call `end` on a thread of its own called `name`, and wait at most `limit` seconds for it.

    Returns whether it came back. What it raises is logged, and counts as coming back. Raises RuntimeError
    where no thread is to be had.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            end()
        except Exception:
            # This thread's outermost call: whatever fails at the end must not hold up what ends after it.
            log.exception("%s failed", name)
        with contextlib.suppress(RuntimeError):  # it took too long, and the event loop has ended
            loop.call_soon_threadsafe(ended.set)

    # Not a thread of asyncio's: those are waited for, however long one hangs.
    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        async with asyncio.timeout(limit):
            await ended.wait()
    except TimeoutError:
        log.warning("%s goes on after %.1f s and is left behind", name, limit)
    return ended.is_set()
