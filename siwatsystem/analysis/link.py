"""An analysis app's connection to its control server, which it opens anew whenever it was lost.

Facts (a file is done, a camera has ended) are kept until the server's side has answered a ping that was
sent after them, and told again on the next connection: before anything is answered there.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from siwatsystem.deepstream.messages import MAX_BYTES, AppMessage, ServerMessage, encode, server_message
from siwatsystem.deepstream.to_app import ExecuteAck
from siwatsystem.deepstream.to_server import AppReady
from siwatsystem.errors import SiwatError
from siwatsystem.session import BYTES_PER_TOKEN

log = logging.getLogger(__name__)

FIRST_RETRY_SEC = 0.5
MAX_RETRY_SEC = 5.0
ACK_SEC = 30.0
"""Longest wait for the answer to `app_ready`."""
CONFIRM_SEC = 1.0
"""Between two questions whether what was told has arrived."""
PING_SEC = 10.0
"""A server that says nothing for so long after a ping is gone."""
RATE, BURST = 100.0, 1000
"""Messages a second for long, and at once: a server closes the connection of whoever floods it."""
MAX_ANSWERS = 256
"""Answers that wait to be sent; while there are more, nothing is read."""
_REFUSALS = frozenset({401, 403, 404})


class HandshakeRefused(SiwatError):
    """The server does not know this app."""


class Pace:
    """Lets `burst` through at once and `rate` a second for long; what was not used is not saved up beyond
    that."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._saved_sec = burst / rate
        self._due = float("-inf")

    def wait(self, now: float, count: int = 1) -> float:
        """Seconds until `count` more, which are sent then, may go."""
        self._due = max(self._due, now - self._saved_sec) + count / self._rate
        return max(0.0, self._due - now)


@dataclass(frozen=True, slots=True)
class _Item:
    text: str
    fact: int | None = None
    """Its number, if it is a fact."""


class Link:
    """`ready(reconnection, last_close_code)` gives the first message of a connection, `answer` what is to be
    said to a message. All but `tell_soon` belongs to the event loop."""

    def __init__(
        self,
        url: str,
        token: str | None,
        ready: Callable[[bool, int | None], AppReady],
        answer: Callable[[ServerMessage], Sequence[AppMessage]],
    ) -> None:
        self._url = url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._ready = ready
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._facts: deque[_Item] = deque()
        """That the server may not have."""
        self._queue: deque[_Item] = deque()
        """For the connection that there is."""
        self._changed = asyncio.Condition()
        self._number = 0
        self._sent = 0
        self._known = False
        self._ended = False
        self._last_close_code: int | None = None
        self._socket: ClientConnection | None = None

    @property
    def connected(self) -> bool:
        return self._socket is not None

    @property
    def idle(self) -> bool:
        """Connected, and nothing waits to be sent."""
        return self._socket is not None and not self._queue

    def tell_soon(self, message: AppMessage, *, is_fact: bool) -> None:
        """From any thread, in the order of the calls."""
        text = encode(message)
        self._loop.call_soon_threadsafe(self._tell, text, is_fact)

    def tell(self, message: AppMessage) -> None:
        """Say something that is worth nothing once the connection is lost."""
        self._tell(encode(message), is_fact=False)

    async def run(self) -> None:
        """Connect, and again, until `finish` or it is cancelled. Raises HandshakeRefused."""
        failures = 0
        while True:
            try:
                async with connect(
                    self._url,
                    additional_headers=self._headers,
                    compression=None,
                    proxy=None,
                    max_size=MAX_BYTES,
                    ping_interval=PING_SEC,
                    ping_timeout=PING_SEC,
                    close_timeout=1.0,
                ) as socket:
                    await self._shake_hands(socket)
                    failures = 0
                    await self._talk(socket)
            except InvalidURI as error:
                raise HandshakeRefused(str(error)) from None
            except InvalidStatus as error:
                status = error.response.status_code
                if status in _REFUSALS:
                    raise HandshakeRefused(f"{self._url}: the server answers {status}") from None
                log.warning("the control server answers %d", status)
            except ConnectionClosed as error:
                self._lost(error)
            except (OSError, TimeoutError, WebSocketException) as error:
                log.warning("the control server cannot be reached: %s", error or type(error).__name__)
            finally:
                self._socket = None
                self._queue.clear()
            if self._ended:
                return
            failures += 1
            cap = min(MAX_RETRY_SEC, FIRST_RETRY_SEC * 2 ** min(failures - 1, 10))
            await asyncio.sleep(random.uniform(cap / 4, cap))  # nosec B311 # jitter

    async def finish(self, last: AppMessage, seconds: float) -> None:
        """Say a last thing where somebody listens, and close."""
        self._ended = True
        socket = self._socket
        if socket is None:
            return
        self.tell(last)
        try:
            async with asyncio.timeout(seconds):
                async with self._changed:
                    await self._changed.wait_for(lambda: not self._queue or self._socket is None)
                await socket.close(1000)
        except (TimeoutError, WebSocketException):
            log.warning("the control server does not listen to the end")

    # ----------------------------------------------------------------------------------------------

    def _tell(self, text: str, is_fact: bool) -> None:
        if is_fact:
            self._number += 1
            self._facts.append(_Item(text, self._number))
        if self._socket is not None:
            self._queue.append(self._facts[-1] if is_fact else _Item(text))
            self._wake()

    def _wake(self) -> None:
        asyncio.ensure_future(self._notify())  # noqa: RUF006 # it ends at once

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _shake_hands(self, socket: ClientConnection) -> None:
        ready = self._ready(self._known, self._last_close_code)
        await socket.send(encode(ready))
        async with asyncio.timeout(ACK_SEC):
            while True:
                message = self._read(await socket.recv())
                if isinstance(message, ExecuteAck):
                    break
        if message.status == "error":
            raise HandshakeRefused(_refusal(ready, message))
        self._known = True
        self._queue = deque(self._facts)
        self._sent = 0  # on this connection: what went out on another one may be lost
        self._socket = socket
        log.info("connected to %s", self._url)

    async def _talk(self, socket: ClientConnection) -> None:
        tasks = [
            asyncio.ensure_future(one)
            for one in (self._send(socket), self._receive(socket), self._confirm(socket))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, socket: ClientConnection) -> None:
        pace = Pace(RATE, BURST)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._queue)
            item = self._queue[0]
            await asyncio.sleep(pace.wait(time.monotonic(), 1 + len(item.text) // BYTES_PER_TOKEN))
            await socket.send(item.text)
            if item.fact is not None:
                self._sent = max(self._sent, item.fact)
            self._queue.popleft()
            if not self._queue or len(self._queue) == MAX_ANSWERS:
                await self._notify()

    async def _receive(self, socket: ClientConnection) -> None:
        while True:
            text = await socket.recv()
            async with self._changed:
                facts = len(self._facts)
                await self._changed.wait_for(lambda: len(self._queue) <= facts + MAX_ANSWERS)  # noqa: B023 # waited for here
            message = self._read(text)
            if message is not None:
                for answer in self._answer(message):
                    self.tell(answer)

    async def _confirm(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(CONFIRM_SEC)
            sent = self._sent
            if not self._facts or (self._facts[0].fact or 0) > sent:
                continue
            await (await socket.ping())
            while self._facts and (self._facts[0].fact or 0) <= sent:
                self._facts.popleft()

    def _read(self, text: str | bytes) -> ServerMessage | None:
        """None for what means nothing here."""
        try:
            return server_message(text if isinstance(text, str) else text.decode(errors="replace"))
        except SiwatError as error:
            log.warning("a message of the server was passed over: %s", error.message)
            return None

    def _lost(self, error: ConnectionClosed) -> None:
        code, reason = (1006, "") if error.rcvd is None else (int(error.rcvd.code), error.rcvd.reason)
        self._last_close_code = code
        if code == 1008:
            raise HandshakeRefused(f"the server has closed the connection: {reason or 'it gave no reason'}")
        if not self._ended:
            log.warning("the connection was closed (%d %s)", code, reason)


def _refusal(ready: AppReady, ack: ExecuteAck) -> str:
    """Why the server does not want this app, and what can be done. Only here a made-up id is told."""
    reason = ack.error_message or "it gave no reason"
    text = f"the server refuses instance {ready.instance_id} ({ack.error_code}): {reason}"
    if ack.error_code != "UNKNOWN_INSTANCE":
        return text
    return (
        f"{text}. Have the server launch the app (POST /deepstream/launch), or start it with an "
        "--instance-id (APP_ID) that the server's control.sample_data names with this config"
    )
