"""One WebSocket conversation: text in → effects out. Pure: no clock, no sockets.

What a message says is answered; what breaks a limit (size, rate) closes the connection.
"""

from dataclasses import dataclass

import orjson

from siwatsystem.config import WebSocketSettings
from siwatsystem.errors import InvalidJson, SiwatError
from siwatsystem.messages import Command, ErrorMessage, Outgoing, decode

POLICY_VIOLATION = 1008
TOO_BIG = 1009


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

    def take(self, now: float) -> bool:
        """Whether one more may pass at `now` (seconds, never going back)."""
        if self._last is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
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
        if len(text) > self._max_bytes:
            return [self._close(TOO_BIG, f"a message may have {self._max_bytes // 1024} KiB at most")]
        if not self._messages.take(now):
            return [self._close(POLICY_VIOLATION, "too many messages a second")]
        try:
            if isinstance(text, bytes):
                raise InvalidJson("a binary message: JSON text is expected")
            return [Apply(decode(text, self._max_depth))]
        except SiwatError as error:
            effects: list[Effect] = [Answer(_refusal(error, text))]
            if not self._errors.take(now):
                effects.append(self._close(POLICY_VIOLATION, "too many bad messages a second"))
            return effects

    def _close(self, code: int, reason: str) -> Close:
        self._closed = True
        return Close(code, reason)


def _refusal(error: SiwatError, text: str | bytes) -> ErrorMessage:
    fields: dict[str, object] = {"error": error.message, "code": error.code}
    identifier = None if isinstance(error, InvalidJson) else _identifier(text)
    if identifier is not None:
        fields["subscriptionIdentifier"] = identifier
    return ErrorMessage.model_validate(fields)


def _identifier(text: str | bytes) -> str | None:
    """Whom a refused message was about, where that can be read."""
    try:
        payload = orjson.loads(text)["payload"]
        found = payload.get("subscriptionIdentifier", payload.get("cameraIdentifier"))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) and 0 < len(found) <= 256 else None
