"""Answers that were given, so that a command that is sent again changes nothing."""

from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from siwatsystem.deepstream.events import Command


@dataclass(frozen=True, slots=True)
class Given:
    """`fingerprint`: of the command, so that another one under the same id is noticed."""

    fingerprint: str
    status: int
    body: dict[str, Any]


def fingerprint(command: Command) -> str:
    """Of all that the client said."""
    said = [(field.name, getattr(command, field.name)) for field in fields(command) if field.compare]
    return sha256(f"{type(command).__name__}{said!r}".encode(errors="replace")).hexdigest()[:32]


class Answers:
    """The newest `most`, by `request_id`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._given: dict[str, Given] = {}

    def __len__(self) -> int:
        return len(self._given)

    def get(self, request_id: str) -> Given | None:
        return self._given.get(request_id)

    def items(self) -> list[tuple[str, Given]]:
        return list(self._given.items())

    def add(self, request_id: str, given: Given) -> list[str]:
        """Remember it; the ids of those that are forgotten for it."""
        self._given[request_id] = given
        over = len(self._given) - self._most
        forgotten = [key for _, key in zip(range(over), self._given, strict=False)]
        for key in forgotten:
            del self._given[key]
        return forgotten
