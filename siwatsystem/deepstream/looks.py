"""Looks at paths that clients name: in threads of their own, few at a time.

A network drive that is away may hold a look for ever. That costs whoever names its files, and nobody else:
neither the threads that the rest of the server uses, nor its end.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

Found = TypeVar("Found")


class Looks:
    """For one event loop. At most `most` are under way; a further one waits for its turn."""

    def __init__(self, most: int, within_sec: float) -> None:
        self._within_sec = within_sec
        self._turns = asyncio.Semaphore(most)

    async def at(self, look: Callable[..., Found], *arguments: object) -> Found:
        """What `look` gives, or raises. Raises TimeoutError where that, and its turn, do not come in time."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()

        def settle(give: Callable[[], None]) -> None:
            self._turns.release()
            if not answer.done():  # nobody waits any more
                give()

        def work() -> None:
            try:
                give = partial(answer.set_result, look(*arguments))
            except Exception as error:
                give = partial(answer.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, give)

        async with asyncio.timeout(self._within_sec):
            await self._turns.acquire()
            try:
                threading.Thread(target=work, name="look", daemon=True).start()
            except RuntimeError:
                self._turns.release()
                raise
            return await answer
