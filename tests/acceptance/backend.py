"""A backend as a customer writes it, with `siwatsystem.client`, for tests that wait instead of awaiting."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from siwatsystem.client import Client, Feed, Unreadable
from tests.acceptance.listening import PATIENCE, Listening, Message

T = TypeVar("T")
BACKLOG = 100_000
"""More messages than a test lets wait: none may be lost."""


class Backend(Listening):
    """A client on an event loop of its own, made by `backend`. Messages come as they are in JSON. One
    that the client cannot read fails the test, and so does waiting for one after a connection was lost."""

    def __init__(self, client: Client, messages: Feed[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._client = client
        self._messages = messages
        self._loop = loop

    def _do(self, what: Coroutine[Any, Any, T], timeout: float = PATIENCE) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout + PATIENCE)

    def _take(self, timeout: float) -> Message | None:
        async def soon() -> Any:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    return await anext(self._messages)

        message = self._do(soon(), timeout)
        assert not self._client.losses, "the worker closed the connection"
        assert not self._messages.dropped
        if message is None:
            return None
        assert not isinstance(message, Unreadable), message
        return {"type": message.type, **message.model_dump(by_alias=True, exclude_unset=True)}

    def subscribe(self, identifier: str, **given: Any) -> None:
        """Returns when the worker has it; see `Client.subscribe`."""
        fields: dict[str, Any] = {"model_name": "Cars", "model_id": 101, "timeout": PATIENCE, **given}
        self._do(self._client.subscribe(identifier, **fields))

    def unsubscribe(self, identifier: str) -> None:
        self._do(self._client.unsubscribe(identifier, timeout=PATIENCE))

    async def close(self) -> None:
        await self._client.close()

    def set_session(self, display: str, session: int | str | None) -> None:
        self._do(self._client.set_session(display, session))


@contextmanager
def backend(url: str, token: str | None = None) -> Generator[Backend]:
    """A backend that is connected for as long as the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="backend")
    thread.start()

    async def enter() -> Backend:
        client = Client(url, token=token, connect_timeout=PATIENCE, silence=PATIENCE, backlog=BACKLOG)
        messages = client.messages()
        await client.__aenter__()
        return Backend(client, messages, loop)

    try:
        made = asyncio.run_coroutine_threadsafe(enter(), loop).result(2 * PATIENCE)
        try:
            yield made
        finally:
            asyncio.run_coroutine_threadsafe(made.close(), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
