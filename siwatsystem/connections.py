"""The open WebSocket connections, what waits to be sent to each, and what could not be sent in time."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from siwatsystem import metrics
from siwatsystem.config import Settings
from siwatsystem.delivery import Outbound, QueuedDetection
from siwatsystem.errors import ErrorCode, SiwatError
from siwatsystem.messages import Encoded, ErrorMessage, Outgoing, Sendable, StateReport
from siwatsystem.patches import Patches
from siwatsystem.session import Close, Conversation
from siwatsystem.subscriptions import Subscription

log = logging.getLogger(__name__)

PATCH_DELAY_SEC = 0.05
"""Late detections of a burst are gathered for this long, so that they become one message."""


@dataclass(eq=False)
class Connection:
    """One backend: its conversation, and what waits for it."""

    id: int
    conversation: Conversation
    outbound: Outbound
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    close: Close | None = None
    told: dict[tuple[str, str], ErrorCode] = field(default_factory=dict[tuple[str, str], ErrorCode])
    """Failures that last and were told: subscription and kind → the code they were told under."""


class Connections:
    """All connections. Lives on the event loop's thread."""

    def __init__(self, settings: Settings, connection_of: Callable[[str], int | None]) -> None:
        self._settings = settings
        self._connection_of = connection_of
        self._open: dict[int, Connection] = {}
        self._ids = itertools.count(1)
        self._patches = Patches(settings.patch_keep_sec)
        self._patches_due = False

    def __len__(self) -> int:
        return len(self._open)

    def all(self) -> list[Connection]:
        return list(self._open.values())

    def get(self, number: int | None) -> Connection | None:
        return None if number is None else self._open.get(number)

    def open(self) -> Connection:
        """A new connection, with nothing waiting."""
        settings = self._settings
        connection = Connection(
            next(self._ids),
            Conversation(settings.websocket),
            Outbound(settings.websocket, settings.realtime_deadline_ms),
        )
        self._open[connection.id] = connection
        metrics.CONNECTIONS.set(len(self._open))
        return connection

    def closed(self, connection: Connection) -> None:
        """The connection is gone: what it was not sent, or did not acknowledge, goes on as patches."""
        self._open.pop(connection.id, None)
        metrics.CONNECTIONS.set(len(self._open))
        self._late(connection.outbound.drain())
        self._patches.lost(connection.id)
        self.flush_soon()

    def reply(self, connection: Connection, message: Outgoing) -> None:
        if isinstance(message, ErrorMessage):
            metrics.ERRORS.labels(message.code).inc()
        if not connection.outbound.put_reply(message):
            connection.close = Close(1008, "answers are not being read")
        connection.wake.set()

    def report(self, connection: Connection, message: StateReport | Encoded) -> None:
        connection.outbound.put_state(message)
        connection.wake.set()

    def tell(self, connection: Connection, subscription: Subscription, kind: str, error: SiwatError) -> None:
        """A failure that lasts: told when it begins, not again until `end` was."""
        key = subscription.identifier, kind
        if connection.told.get(key) != error.code:
            connection.told[key] = error.code
            self.reply(connection, _about(subscription, error.code, error.message))

    def end(self, connection: Connection, subscription: Subscription, kind: str, text: str) -> None:
        """A failure that was told has ended."""
        code = connection.told.pop((subscription.identifier, kind), None)
        if code is not None:
            self.reply(connection, _about(subscription, code, text, resolved=True))

    def forget(self, connection: Connection, identifier: str) -> None:
        """A subscription has ended: nothing more is sent for it, now or later."""
        connection.outbound.forget(identifier)
        self.forget_told(connection, identifier)

    def hand_over(self, connection: Connection, identifier: str) -> None:
        """A subscription was replaced or taken over: what waits for it is told as patches."""
        self._late(connection.outbound.forget(identifier))
        self.forget_told(connection, identifier)

    def forget_told(self, connection: Connection, identifier: str) -> None:
        """A subscription was made anew: what still fails is told again."""
        for key in [key for key in connection.told if key[0] == identifier]:
            del connection.told[key]

    def detection(self, number: int | None, item: QueuedDetection) -> None:
        """Queue a detection for a connection; without one it becomes a patch."""
        connection = self.get(number)
        if connection is None:
            self._late([item])
            return
        self._late(connection.outbound.put_detection(item))
        connection.wake.set()

    def next(self, connection: Connection) -> Sendable | None:
        """What is to be sent now, if anything."""
        message, late = connection.outbound.next(time.time())
        self._late(late)
        return message

    def answered(self, connection: Connection, session_id: int | str | None, success: bool) -> bool:
        """The backend's answer to a patch; whether there was one under way."""
        known = self._patches.answered(connection.id, session_id, success)
        self.flush_soon()
        return known

    def expire(self) -> None:
        """Forget patches that waited too long, and try to send the others."""
        self._patches.expire(time.monotonic())
        self.flush_soon()

    def flush_soon(self) -> None:
        """Send the patches that can be sent, a burst of reasons at once."""
        if not self._patches_due:
            self._patches_due = True
            asyncio.get_running_loop().call_later(PATCH_DELAY_SEC, self._flush)

    def _flush(self) -> None:
        self._patches_due = False
        for number, message in self._patches.due(self._connection_of, time.monotonic()):
            connection = self.get(number)
            if connection is not None:
                self.reply(connection, message)

    def _late(self, items: Iterable[QueuedDetection]) -> None:
        any_session = False
        for item in items:
            metrics.DETECTIONS_LATE.inc()
            if item.session_id is not None:
                any_session = True
                self._patches.late(
                    item.display_id, item.session_id, item.attributes, item.captured_at, time.monotonic()
                )
        if any_session:
            self.flush_soon()


def error_message(
    code: ErrorCode,
    text: str,
    *,
    identifier: str | None = None,
    legacy: bool = False,
    resolved: bool = False,
) -> ErrorMessage:
    """The wire's form of a failure; the only place where one is made."""
    fields: dict[str, object] = {"error": text, "code": code}
    if identifier:
        fields["subscriptionIdentifier"] = identifier
        if legacy:
            fields["cameraIdentifier"] = identifier
    if resolved:
        fields["resolved"] = True
    return ErrorMessage.model_validate(fields)


def _about(subscription: Subscription, code: ErrorCode, text: str, *, resolved: bool = False) -> ErrorMessage:
    return error_message(
        code, text, identifier=subscription.identifier, legacy=subscription.legacy, resolved=resolved
    )
