"""What flows into the outbox: an event and the jobs it causes, nothing in them left to resolve."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from siwatsystem.errors import ErrorCode
from siwatsystem.tracing.tracer import EventSpan

JobKind = Literal[
    "redis_save_image",
    "redis_publish",
    "postgresql_update_combined",
    "postgresql_initial_record",
    "mqtt_publish",
    "kafka_publish",
    "webhook",
]


class LateBlob(Protocol):
    """Bytes made when the outbox writes them, off the inference path (a picture to be encoded)."""

    @property
    def nbytes(self) -> int:
        """Memory that is held until then."""
        ...

    def __call__(self) -> bytes:
        """The bytes. Raises ValueError if they cannot be made; the job is then dropped and told."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do at one server, fully resolved.

    `target` is the key of a target that the outbox knows (`Outbox.register`), `payload` can be
    written as JSON, `expires_at` is a Unix time after which the job is dropped and counted, and
    `key` names this job wherever it is told.
    """

    kind: JobKind
    target: str
    payload: Mapping[str, Any]
    blob: bytes | LateBlob | None = None
    expires_at: float | None = None
    key: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """The jobs of one event, in their order.

    Jobs of one `lane` (the session id; None makes the event a lane of its own) are carried out one
    after the other across events and servers. `subscription` is whom a problem concerns, `span` the event's
    place in the trace of its frame, where that has one.
    """

    jobs: tuple[Job, ...]
    lane: str | None = None
    subscription: str | None = None
    event_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span: EventSpan | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong with actions, or (`ended`) that is over. Holds no secret."""

    code: ErrorCode
    message: str
    subscription: str | None = None
    ended: bool = False
