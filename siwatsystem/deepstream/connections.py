"""The apps' connections: what each may say, and what waits to be sent to it."""

import asyncio
import itertools
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from siwatsystem.config import WebSocketSettings
from siwatsystem.deepstream.messages import AppMessage, ServerMessage, app_message, encode
from siwatsystem.deepstream.to_app import ExecuteAck
from siwatsystem.deepstream.to_server import AppReady
from siwatsystem.deepstream.wire_states import iso
from siwatsystem.errors import InvalidJson, SiwatError, TooDeep
from siwatsystem.session import BYTES_PER_TOKEN, POLICY_VIOLATION, TOO_BIG, TokenBucket

log = logging.getLogger(__name__)

QUEUE_BYTES = 16 * 1024 * 1024
"""What waits for an app that does not read, before it is cut: the pushes of all slots of the largest app."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ends, as WebSocket close code and reason."""

    code: int
    reason: str


class Line(Protocol):
    """A connection, real or simulated. `over`: the state core is told nothing more of it."""

    over: bool

    def put(self, message: ServerMessage) -> None: ...

    def end(self, code: int, reason: str) -> None: ...


@dataclass(eq=False)
class AppConnection:
    """One WebSocket. What breaks a limit ends it; what is only wrong is logged, and the app goes on."""

    number: int
    limits: WebSocketSettings
    only: str | None = None
    """The instance that the app's token is for; None: it may be any."""
    over: bool = False
    ending: Ending | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: deque[str] = field(default_factory=deque[str])
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._messages = TokenBucket(self.limits.rate_per_sec, self.limits.burst)
        self._errors = TokenBucket(self.limits.errors_per_sec, self.limits.error_burst)

    def put(self, message: ServerMessage) -> None:
        """Let it be sent; an app for which too much waits is cut."""
        if self.ending is not None:
            return
        text = encode(message)
        self._waiting.append(text)
        self._bytes += len(text)
        if self._bytes > QUEUE_BYTES:
            self._waiting.clear()
            self.end(POLICY_VIOLATION, "messages are not being read")
        self.wake.set()

    def next(self) -> str | None:
        """What is to be sent now."""
        if not self._waiting:
            return None
        text = self._waiting.popleft()
        self._bytes -= len(text)
        return text

    def end(self, code: int, reason: str) -> None:
        """Close it, once what waits is out. The first reason counts."""
        if self.ending is None:
            self.ending = Ending(code, reason)
        self.wake.set()

    def read(self, text: str | bytes, now: float) -> AppMessage | None:
        """A message within the limits; None for one that is none, or that ends the connection."""
        size = len(text) if isinstance(text, bytes) else len(text.encode(errors="replace"))
        if size > self.limits.max_message_kb * 1024:
            self.end(TOO_BIG, f"a message may have {self.limits.max_message_kb} KiB at most")
            return None
        if not self._messages.take(now, 1 + size // BYTES_PER_TOKEN):
            self.end(POLICY_VIOLATION, "too many messages a second")
            return None
        try:
            if isinstance(text, bytes):
                raise InvalidJson("a binary message: JSON text is expected")
            said = app_message(text, self.limits.max_depth)
        except SiwatError as error:
            log.warning("app connection %d said what is no message: %s", self.number, error.message[:300])
            if isinstance(error, TooDeep):
                self.end(POLICY_VIOLATION, error.message[:120])
            elif not self._errors.take(now):
                self.end(POLICY_VIOLATION, "too many bad messages a second")
            return None
        if isinstance(said, AppReady) and self.only not in (None, said.instance_id):
            self._refuse(said)
            return None
        return said

    def _refuse(self, said: AppReady) -> None:
        """It says that it is somebody else than its token is for."""
        reason = "the token is another instance's"
        ack = ExecuteAck(
            request_id=said.request_id,
            instance_id=said.instance_id,
            status="error",
            config_verified=False,
            streams_count_verified=False,
            received_config=said.config_path,
            error_code="UNKNOWN_INSTANCE",
            error_message=reason,
            timestamp=iso(time.time()) or "",
        )
        self.put(ack)
        self.end(POLICY_VIOLATION, reason)


class Connections:
    """All that are open, by a number that is never used twice."""

    def __init__(self, limits: WebSocketSettings) -> None:
        self._limits = limits
        self._open: dict[int, Line] = {}
        self._numbers = itertools.count(1)
        self._none = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= self._limits.max_connections

    def open(self, only: str | None = None) -> AppConnection:
        """`only`: the instance that whoever connected may be; None: any."""
        connection = AppConnection(next(self._numbers), self._limits, only)
        self._open[connection.number] = connection
        return connection

    def add(self, line: Line) -> int:
        """A connection that is no WebSocket."""
        number = next(self._numbers)
        self._open[number] = line
        return number

    def remove(self, number: int) -> None:
        self._open.pop(number, None)
        if not self._open:
            self._none.set()

    async def closed(self) -> None:
        """Until none is open."""
        if self._open:
            self._none.clear()
            await self._none.wait()

    def send(self, number: int, message: ServerMessage) -> None:
        line = self._open.get(number)
        if line is not None:
            line.put(message)

    def close(self, number: int, code: int, reason: str) -> None:
        """As the state core wants it: it is told nothing more."""
        line = self._open.get(number)
        if line is not None:
            line.over = True
            line.end(code, reason)

    def close_all(self, code: int, reason: str) -> None:
        """The server goes away; the apps connect again."""
        for number in list(self._open):
            self.close(number, code, reason)
