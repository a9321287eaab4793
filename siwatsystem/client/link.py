"""A connection that is made again whenever it is lost, and what waits for an answer over it."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from siwatsystem.client.connection import Connection
from siwatsystem.client.errors import ClientError, Disconnected, NoAnswer, Unauthorized, Unreachable
from siwatsystem.client.pace import Allowed, Paced
from siwatsystem.client.reading import Received, read
from siwatsystem.client.watchers import Look, Watchers
from siwatsystem.messages import Command

log = logging.getLogger(__name__)

T = TypeVar("T")
Send = Callable[[Command], Awaitable[None]]

FIRST_PAUSE_SEC = 0.5
LONGEST_PAUSE_SEC = 30.0
SETTLED_SEC = 10.0
"""A connection that lasted as long as this was a good one: the next pause is the first one again."""
POLICY_VIOLATION = 1008
"""The code with which a worker closes a connection over which too much comes."""


class Link:
    """At most one connection at a time; `run` keeps it up until cancelled.

    `connect` makes one, `greet` gives what is said first to each, `take` gets what comes, and ends it by
    raising a ClientError; a worker that says nothing for `silence` seconds is given up.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        silence: float,
        greet: Callable[[], Iterable[Command]],
        take: Callable[[Received], None],
    ) -> None:
        self._connect = connect
        self._silence = silence
        self._greet = greet
        self._take = take
        self.losses = 0
        """Connections that were there and ended, other than by `close`."""
        self._allowed = Allowed()
        self._watchers = Watchers()
        self._connection: Paced | None = None
        self._failure: ClientError | None = None
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    async def until_open(self, timeout: float) -> None:
        """Raises Unauthorized, Unreachable after `timeout` seconds, and ClientError once it is closed."""
        try:
            async with asyncio.timeout(timeout):
                while self._connection is None:
                    self._be_open()
                    if isinstance(self._failure, Unauthorized):
                        raise self._failure
                    await self._changed.wait()
        except TimeoutError:
            raise Unreachable(str(self._failure or f"no connection within {timeout:g} s")) from None

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_PAUSE_SEC
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                async with self._connect() as connection:
                    await self._listen(connection)
            except ClientError as error:
                self._lost(error)
            except Exception as error:
                log.exception("the connection failed")
                self._lost(Disconnected(1006, str(error)))
            if now() - began > SETTLED_SEC:
                pause = FIRST_PAUSE_SEC
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, LONGEST_PAUSE_SEC)

    def close(self) -> None:
        """For good: who waits, and who asks from now on, gets a ClientError. `run` is cancelled apart."""
        self._closed = True
        self._become(None, None)
        self._watchers.end(_closed())

    def _be_open(self) -> None:
        if self._closed:
            raise _closed()

    async def _listen(self, connection: Connection) -> None:
        # Open before it is greeted: what is asked for meanwhile would else be said to no connection. Of what
        # was wanted before: what is asked for from now on is said by who asks.
        paced, wanted = Paced(connection, self._allowed), self._greet()
        self._become(paced, None)
        greeting = asyncio.create_task(_say(paced, wanted))
        try:
            while True:
                try:
                    text = await connection.receive(self._silence)
                except TimeoutError:
                    raise Disconnected(1006, f"the worker said nothing for {self._silence:g} s") from None
                message = read(text)
                self._take(message)
                self._watchers.show(message)
        finally:
            paced.end()
            greeting.cancel()
            await asyncio.gather(greeting, return_exceptions=True)

    def _lost(self, error: ClientError) -> None:
        log.log(logging.WARNING if self.is_open else logging.DEBUG, "%s; connecting again", error)
        self.losses += self.is_open
        if isinstance(error, Disconnected) and error.code == POLICY_VIOLATION:
            self._allowed.halve()
        self._become(None, error)
        self._watchers.lost(error)

    def _become(self, connection: Paced | None, failure: ClientError | None) -> None:
        self._connection, self._failure = connection, failure
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def send(self, command: Command) -> None:
        """Over the present connection, when it may. Raises Disconnected, also where there is none, and
        ClientError once it is closed."""
        self._be_open()
        if self._connection is None:
            raise Disconnected(1006, "nothing was sent")
        try:
            await self._connection.send(command)
        except Disconnected:
            self._be_open()
            raise

    def sender(self) -> Send:
        """What sends over the present connection, and never over a later one: then it raises Disconnected, as
        this does where there is none."""
        if self._connection is None:
            raise Disconnected(1006, "nothing was sent")
        return self._connection.send

    async def ask(
        self, commands: Sequence[Command], look: Look[T], what: str, *, survives: bool, timeout: float
    ) -> T:
        """Send commands and give what `look` makes of a message that comes then.

        `survives`: a further connection, which is greeted with all that is wanted, may answer as well. Raises
        NoAnswer after `timeout` seconds, Disconnected unless it survives, ClientError once it is closed, and
        what `look` raises.
        """
        self._be_open()
        is_sent = False
        try:
            async with asyncio.timeout(timeout):
                with self._watchers.watch(look, survives=survives) as answer:
                    with contextlib.suppress(*((Disconnected,) if survives else ())):
                        for command in commands:
                            await self.send(command)
                    is_sent = True
                    return await answer
        except TimeoutError:
            why = "" if is_sent else " (not sent: too much is to be sent before it)"
            why = why if self.is_open else f" (not connected: {self._failure})"
            raise NoAnswer(f"{what} within {timeout:g} s{why}") from None


async def _say(connection: Paced, greeting: Iterable[Command]) -> None:
    for command in greeting:
        await connection.send(command)


def _closed() -> ClientError:
    return ClientError("this client was closed")
