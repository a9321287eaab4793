"""What the state core wants done. The order within a list matters: saved first, then told."""

from dataclasses import dataclass
from typing import Any, Literal

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.messages import ServerMessage

Kind = Literal["app", "request", "file", "answer"]


@dataclass(frozen=True, slots=True)
class Save:
    """Write a record, in place of the one with this key."""

    kind: Kind
    key: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete a record."""

    kind: Kind
    key: str


@dataclass(frozen=True, slots=True)
class Send:
    """A message for the app on a connection."""

    connection: int
    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Close:
    """End a connection, once what was sent before is out. No news of it is expected any more."""

    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the command `request_id`: an HTTP status and a body."""

    request_id: str
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LaunchApp:
    """Start the process; then say `Launched` or `LaunchFailed` with this `run`, and `Exited` at its end."""

    instance_id: str
    run: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the app's process group. What became of it is told by `Exited`."""

    instance_id: str
    run: int
    signal: Literal["TERM", "KILL"]


@dataclass(frozen=True, slots=True)
class Publish:
    """There are changes up to this number (`Control.changes`)."""

    number: int


def refusal(request_id: str, status: int, reason: str) -> Answer:
    """A command that changed nothing."""
    return Answer(request_id, status, refusal_body(reason))


def refusal_body(reason: str) -> dict[str, Any]:
    """Every refusal says the same in both spellings that clients read."""
    return {"success": False, "message": reason, "detail": reason}


Effect = Save | Drop | Send | Close | Answer | LaunchApp | Signal | Publish
