"""Patches of both directions: the worker's are answered one after the other, ours wait for their turn."""

import asyncio
import contextlib
import inspect
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from siwatsystem.client.errors import Disconnected
from siwatsystem.client.link import Send
from siwatsystem.messages import PatchSessionOut, PatchSessionResult

log = logging.getLogger(__name__)

OnPatch = Callable[[PatchSessionOut], Awaitable[object] | object]
MOST_WAITING = 1000
"""Patches that are neither taken nor answered, of a program that takes them too slowly."""
TOO_SLOW = "patches wait for on_patch; it was left, so that the worker sends them again"


class PatchAnswers:
    """Takes the worker's patches, in order, and tells it how that went; each over the connection that it came
    by, since over a further one the worker sends it again, perhaps with more."""

    def __init__(self, on_patch: OnPatch | None, sender: Callable[[], Send]) -> None:
        """`sender` gives what answers over the present connection."""
        self._on_patch = on_patch
        self._sender = sender
        self._waiting: asyncio.Queue[tuple[PatchSessionOut, Send]] = asyncio.Queue(MOST_WAITING)

    def put(self, patch: PatchSessionOut) -> None:
        """Raises Disconnected where too many wait, and forgets them: what was not answered is sent again when
        the connection ends, and not before."""
        if not self._waiting.full():
            self._waiting.put_nowait((patch, self._sender()))
            return
        while not self._waiting.empty():
            self._waiting.get_nowait()
        raise Disconnected(1006, f"{MOST_WAITING} {TOO_SLOW}")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            patch, send = await self._waiting.get()
            success, message = True, ""
            try:
                await self._taken(patch)
            except Exception as error:
                log.exception("the patch of session %s was not taken", patch.session_id)
                success, message = False, str(error) or type(error).__name__
            answer = {"sessionId": patch.session_id, "success": success, "message": message[:1000]}
            with contextlib.suppress(Disconnected):
                await send(PatchSessionResult.model_validate({"payload": answer}))

    async def _taken(self, patch: PatchSessionOut) -> None:
        if self._on_patch is not None:
            result = self._on_patch(patch)
            if inspect.isawaitable(result):
                await result


AT_A_TIME = 100
"""Patches of ours that are not answered yet. A worker keeps some hundred answers for who does not read them,
and closes the connection of who causes more."""


class Turns:
    """One patch of ours a session at a time: the answers name nothing but the session. And not too many."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, session: int | str) -> AsyncGenerator[None]:
        name = str(session)
        self._users[name] += 1
        try:
            async with self._locks.setdefault(name, asyncio.Lock()), self._room:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
