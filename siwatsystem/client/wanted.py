"""What a program wants of its worker: said again to every new connection."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import orjson
from pydantic import ValidationError

from siwatsystem.client.failures import Failures
from siwatsystem.client.reading import WorkerError
from siwatsystem.messages import (
    COMMANDS,
    CameraConnection,
    Command,
    PatchSessionIn,
    SessionId,
    SetSessionId,
    StateReport,
    Subscribe,
    describe,
)

MAX_PATCH_BYTES = 1 << 20
"""A larger one would end the connection, and no worker keeps sessions of this size."""


class Before(NamedTuple):
    """What stood under an identifier when something else was asked for."""

    command: Subscribe | None
    was_taken_over: bool
    failures: dict[str, str]

    def looks_like(self, other: Subscribe) -> bool:
        """Whether they differ, and no report shows in what."""
        if self.command is None:
            return False
        a, b = self.command.payload, other.payload
        shown = (str(a.model_id), a.model_name, a.crop) == (str(b.model_id), b.model_name, b.crop)
        return shown and a != b


@dataclass
class Wanted:
    """Subscriptions by identifier, sessions by display. What another connection took over is no longer said:
    it belongs to who subscribed it last."""

    subscriptions: dict[str, Subscribe] = field(default_factory=dict[str, Subscribe])
    sessions: dict[str, SessionId] = field(default_factory=dict[str, SessionId])
    entries: dict[str, CameraConnection] = field(default_factory=dict[str, CameraConnection])
    """Of the newest report, by identifier: many may wait for theirs at once."""
    taken_over: set[str] = field(default_factory=set[str])
    failures: Failures = field(default_factory=Failures)
    """Of what is wanted, since it was last said to the worker, which then tells anew what still fails."""
    _listed: set[str] = field(default_factory=set[str])
    """That the present connection's reports have listed since they were asked for."""

    def put(self, command: Subscribe) -> Before:
        """From now on; what stood there before."""
        identifier = command.payload.subscription_identifier
        failures = self.failures.take(identifier)
        before = Before(self.subscriptions.get(identifier), identifier in self.taken_over, failures)
        self._forget(identifier)
        self.subscriptions[identifier] = command
        return before

    def undo(self, command: Subscribe, before: Before) -> None:
        """Back to what stood there before, unless something newer does."""
        identifier = command.payload.subscription_identifier
        if self.subscriptions.get(identifier) is not command:
            return
        if before.command is None:
            self.drop(identifier)
            return
        self.subscriptions[identifier] = before.command
        self.failures.put(identifier, before.failures)
        if before.was_taken_over:
            self.taken_over.add(identifier)

    def drop(self, identifier: str) -> None:
        self._forget(identifier)
        self.subscriptions.pop(identifier, None)

    def _forget(self, identifier: str) -> None:
        self.taken_over.discard(identifier)
        self._listed.discard(identifier)
        self.failures.take(identifier)

    def hear(self, report: StateReport) -> list[str]:
        """A report of the present connection. Gives those that another connection has just taken over:
        nothing else ends what was listed and not unsubscribed."""
        self.entries = {one.subscription_identifier: one for one in report.camera_connections}
        there = self.entries.keys() & self.subscriptions.keys()
        lost = self._listed - there
        self._listed = there
        self.taken_over = (self.taken_over | lost) - there
        for identifier in lost:
            self.failures.take(identifier)
        return sorted(lost)

    def fails(self, error: WorkerError) -> None:
        """What the present connection's worker says of a subscription."""
        identifier = error.subscription_identifier
        if identifier is not None and identifier in self.subscriptions:
            self.failures.hear(identifier, error)

    def commands(self) -> Iterator[Command]:
        """For a new connection: sessions first, so that no detection comes without the one it belongs to.
        What is wanted now and still is when its turn comes; who asks for another one meanwhile says so."""
        self._listed.clear()
        self.failures.clear()
        return self._commands(dict(self.sessions), dict(self.subscriptions))

    def _commands(
        self, sessions: dict[str, SessionId], subscriptions: dict[str, Subscribe]
    ) -> Iterator[Command]:
        for display, session in sessions.items():
            if self.sessions.get(display) == session:
                yield set_session(display, session)
        for identifier, command in subscriptions.items():
            if self.subscriptions.get(identifier) is command and identifier not in self.taken_over:
                yield command


def subscribe(fields: dict[str, Any]) -> Subscribe:
    """The command with these fields of the payload, None being absent. Raises ValueError naming the field."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return Subscribe.model_validate({"payload": given})
    except ValidationError as error:
        raise ValueError(describe(error)) from None


def edges(crop: tuple[int, int, int, int] | None) -> dict[str, int | None]:
    """The fields that say `crop` (x1, y1, x2, y2 in pixels). Raises ValueError where it has not four."""
    return dict(zip(("cropX1", "cropY1", "cropX2", "cropY2"), crop or (None,) * 4, strict=True))


def set_session(display: str, session: SessionId) -> SetSessionId:
    """The command. Raises ValueError."""
    try:
        payload = {"displayIdentifier": display, "sessionId": session}
        return SetSessionId.model_validate({"payload": payload})
    except ValidationError as error:
        raise ValueError(describe(error)) from None


def patch_session(session: int | str, data: dict[str, Any]) -> PatchSessionIn:
    """The command. Raises ValueError."""
    try:
        size = len(orjson.dumps(data))
    except TypeError as error:
        raise ValueError(f"data: {error}") from None
    if size > MAX_PATCH_BYTES:
        raise ValueError(f"data: has {size} bytes, more than the {MAX_PATCH_BYTES} that a worker takes")
    if not _is_finite(data):
        raise ValueError("data: NaN and infinity are no JSON")
    try:
        command = COMMANDS.validate_python({"type": "patchSession", "sessionId": session, "data": data})
    except ValidationError as error:
        raise ValueError(describe(error)) from None
    return cast(PatchSessionIn, command)


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, cast(dict[object, object], value).values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, cast(list[object], value)))
    return True


def acknowledges(found: CameraConnection | None, command: Subscribe) -> bool:
    """Whether a report's entry is as the command asks for it; its crop may be clipped."""
    asked = command.payload
    if found is None or str(found.model_id) != str(asked.model_id) or found.model_name != asked.model_name:
        return False
    x1, y1, x2, y2 = found.crop_x1, found.crop_y1, found.crop_x2, found.crop_y2
    if asked.crop is None or x1 is None or y1 is None or x2 is None or y2 is None:
        return asked.crop is None and x1 is None
    return asked.crop[0] <= x1 < x2 <= asked.crop[2] and asked.crop[1] <= y1 < y2 <= asked.crop[3]
