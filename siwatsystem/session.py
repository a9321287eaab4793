"""One WebSocket conversation: text in → effects out. Pure: no clock, no sockets.

What a message says is answered; what breaks a limit (size, depth, rate) closes the connection.
"""

from dataclasses import dataclass

import orjson

from siwatsystem.config import WebSocketSettings
from siwatsystem.errors import InvalidJson, SiwatError, TooDeep
from siwatsystem.messages import Command, ErrorMessage, Outgoing, decode

POLICY_VIOLATION = 1008
TOO_BIG = 1009
BYTES_PER_TOKEN = 4096
"""A large message counts as several: it costs as much to read."""


@dataclass(frozen=True, slots=True)
class Apply:
    """A command that is well formed."""

    command: Command


@dataclass(frozen=True, slots=True)
class Answer:
    """A message for this client alone."""

    message: Outgoing


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection, once what waits was sent."""

    code: int
    reason: str


Effect = Apply | Answer | Close


class TokenBucket:
    """Lets `burst` through at once and `rate` a second for long."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._last: float | None = None

    def take(self, now: float, count: int = 1) -> bool:
        """Whether `count` more (all there may ever be, if that is less) may pass at `now`, in seconds."""
        if self._last is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._last) * self._rate)
        self._last = now
        count = min(count, int(self._burst))
        if self._tokens < count:
            return False
        self._tokens -= count
        return True


class Conversation:
    """Reads one client's messages."""

    def __init__(self, settings: WebSocketSettings) -> None:
        self._max_bytes = settings.max_message_kb * 1024
        self._max_depth = settings.max_depth
        self._messages = TokenBucket(settings.rate_per_sec, settings.burst)
        self._errors = TokenBucket(settings.errors_per_sec, settings.error_burst)
        self._closed = False

    def receive(self, text: str | bytes, now: float) -> list[Effect]:
        """What one message asks for; nothing after a Close."""
        if self._closed:
            return []
        size = _size(text)
        if size > self._max_bytes:
            return [self._close(TOO_BIG, f"a message may have {self._max_bytes // 1024} KiB at most")]
        if not self._messages.take(now, 1 + size // BYTES_PER_TOKEN):
            return [self._close(POLICY_VIOLATION, "too many messages a second")]
        try:
            if isinstance(text, bytes):
                raise InvalidJson("a binary message: JSON text is expected")
            return [Apply(decode(text, self._max_depth))]
        except SiwatError as error:
            effects: list[Effect] = [Answer(_refusal(error, text))]
            if isinstance(error, TooDeep):
                effects.append(self._close(POLICY_VIOLATION, error.message))
            elif not self._errors.take(now):
                effects.append(self._close(POLICY_VIOLATION, "too many bad messages a second"))
            return effects

    def _close(self, code: int, reason: str) -> Close:
        self._closed = True
        return Close(code, reason)


def _size(text: str | bytes) -> int:
    """Bytes on the wire."""
    return len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode(errors="replace"))


def _refusal(error: SiwatError, text: str | bytes) -> ErrorMessage:
    names = {} if isinstance(error, InvalidJson) else _names(text)
    return ErrorMessage.model_validate({"error": error.message, "code": error.code, **names})


def _names(text: str | bytes) -> dict[str, str]:
    """Whom a refused message was about, as it said it, where that can be read."""
    try:
        payload: dict[str, object] = orjson.loads(text)["payload"]
        named = payload.get("subscriptionIdentifier")
        found = payload.get("cameraIdentifier") if named is None else named
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {}
    if not isinstance(found, str) or not 0 < len(found) <= 256:
        return {}
    names = {"subscriptionIdentifier": found}
    return names if named is not None else {**names, "cameraIdentifier": found}
