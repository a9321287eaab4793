"""How fast a client may talk: a worker closes connections that send more than it allows."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from siwatsystem.client.connection import Connection, text_of
from siwatsystem.client.errors import Disconnected
from siwatsystem.messages import Command

AT_ONCE, A_SECOND = 1500, 150.0
"""Messages. A worker allows 2,000 and 200, counted as they arrive."""
BYTES_PER_MESSAGE = 4096
"""A large message counts once for each of these."""


LEAST_AT_ONCE, LEAST_A_SECOND = 10.0, 5.0
"""Even after a worker closed many connections, which may have had other reasons."""


@dataclass
class Allowed:
    """Messages that a client says at once and a second: half as many after a worker took them for too many,
    which may be set to take fewer."""

    at_once: float = field(default_factory=lambda: float(AT_ONCE))
    a_second: float = field(default_factory=lambda: A_SECOND)

    def halve(self) -> None:
        self.at_once = max(self.at_once / 2, LEAST_AT_ONCE)
        self.a_second = max(self.a_second / 2, LEAST_A_SECOND)


class Pace:
    """Counts what is sent. `now` is seconds of a clock that only goes on."""

    def __init__(self, now: float, allowed: Allowed | None = None) -> None:
        self._allowed = allowed or Allowed()
        self._left = self._allowed.at_once
        self._at = now

    def delay(self, size: int, now: float) -> float:
        """Seconds until a message of `size` bytes may be sent, which is counted as sent then."""
        allowed = self._allowed
        self._left = min(allowed.at_once, self._left + (now - self._at) * allowed.a_second)
        self._at = now
        self._left -= 1 + size // BYTES_PER_MESSAGE
        return max(0.0, -self._left / allowed.a_second)


class Paced:
    """What is sent over one connection, in the order in which it is given."""

    def __init__(self, connection: Connection, allowed: Allowed) -> None:
        self._connection = connection
        self._pace = Pace(time.monotonic(), allowed)
        self._turn = asyncio.Lock()
        self._ended = asyncio.Event()

    async def send(self, command: Command) -> None:
        """Raises Disconnected."""
        text = text_of(command)
        async with self._turn:
            if delay := self._pace.delay(len(text.encode()), time.monotonic()):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._ended.wait()
            if self._ended.is_set():
                raise Disconnected(1006, "it was not sent")
            await self._connection.send(text)

    def end(self) -> None:
        """The connection is no more: who waits for its turn is told so at once."""
        self._ended.set()
