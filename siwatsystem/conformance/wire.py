"""A raw connection that keeps all that comes, with the moment at which it came."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import orjson

from siwatsystem.client import Disconnected, Unreadable
from siwatsystem.client.connection import Connection, connected
from siwatsystem.client.reading import read
from siwatsystem.conformance.outcomes import Closed, Failed

SHOWN = 300
"""Characters of a message in a report."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message. `at` is of `time.monotonic`, `value` empty where it is no JSON object."""

    at: float
    text: str
    value: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.value.get("type"))

    @property
    def identifier(self) -> object:
        return self.value.get("subscriptionIdentifier")

    def object(self, *keys: str) -> dict[str, Any]:
        """The object that these keys lead to; empty where there is none."""
        found: object = self.value
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return cast(dict[str, Any], found) if isinstance(found, dict) else {}

    def camera(self, identifier: str) -> dict[str, Any] | None:
        """The entry of a subscription in a state report."""
        return next(iter(self.cameras(identifier)), None)

    def cameras(self, identifier: str | None = None) -> list[dict[str, Any]]:
        """The entries of a state report, as far as they are any."""
        found: object = self.value.get("cameraConnections")
        entries = cast(list[object], found) if isinstance(found, list) else []
        objects = [cast(dict[str, Any], entry) for entry in entries if isinstance(entry, dict)]
        return [
            entry
            for entry in objects
            if identifier is None or entry.get("subscriptionIdentifier") == identifier
        ]


Test = Callable[[Arrived], object]


class Wire:
    """One connection of a check. `messages` grows as they come."""

    def __init__(self, connection: Connection, heard: list[Arrived]) -> None:
        self.messages: list[Arrived] = []
        self.closed: Disconnected | None = None
        self._connection = connection
        self._heard = heard
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Until the connection ends."""
        while True:
            try:
                text = await self._connection.receive()
            except Disconnected as closed:
                self.closed = closed
                self._news.set()
                return
            arrived = _arrived(text)
            self.messages.append(arrived)
            self._heard.append(arrived)
            self._news.set()

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        """Send it. Raises Closed where the worker has closed."""
        try:
            await self._connection.send(json.dumps(message) if isinstance(message, dict) else message)
        except Disconnected as closed:
            raise Closed(_closed(closed)) from None

    def cut(self) -> None:
        """As a cable that is pulled."""
        self._connection.abort()

    def mark(self) -> int:
        """What comes from now on: the `since` of `find` and `wait`."""
        return len(self.messages)

    def find(self, test: Test, since: int = 0) -> list[Arrived]:
        return [message for message in self.messages[since:] if test(message)]

    async def wait(self, test: Test, seconds: float, since: int | None = None) -> Arrived | None:
        """The first message for which `test` holds; None where none came in time. Raises Closed where the
        worker closes meanwhile."""
        position = self.mark() if since is None else since
        deadline = time.monotonic() + seconds
        while True:
            while position < len(self.messages):
                if test(self.messages[position]):
                    return self.messages[position]
                position += 1
            if self.closed is not None:
                raise Closed(_closed(self.closed))
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    async def need(self, test: Test, seconds: float, what: str, since: int | None = None) -> Arrived:
        """Like `wait`. Raises Failed with what came instead."""
        begin = self.mark() if since is None else since
        found = await self.wait(test, seconds, begin)
        if found is None:
            raise Failed(f"{what}: not within {seconds:.1f} s; {self.came(begin)}")
        return found

    def came(self, since: int) -> str:
        """What came, for a report."""
        texts = [message.text[:SHOWN] for message in self.messages[since:]]
        if not texts:
            return "nothing came"
        return f"{len(texts)} messages came, the last: {texts[-1]}"


@asynccontextmanager
async def wired(url: str, token: str | None, heard: list[Arrived]) -> AsyncGenerator[Wire]:
    """A connection that is read, closed with the block. Raises what `connected` does."""
    async with connected(url, token=token) as connection:
        wire = Wire(connection, heard)
        task = asyncio.create_task(wire.read())
        try:
            yield wire
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _closed(closed: Disconnected) -> str:
    return f"the worker closed the connection ({f'{closed.code} {closed.reason}'.rstrip()})"


def _arrived(text: str | bytes) -> Arrived:
    now = time.monotonic()
    shown = text if isinstance(text, str) else text.decode(errors="replace")
    message = read(text)
    if isinstance(message, Unreadable) and not isinstance(message.value, dict):
        return Arrived(now, shown, {})
    return Arrived(now, shown, cast(dict[str, Any], orjson.loads(text)))
