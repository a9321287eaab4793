"""Numbered changes for clients that follow: a snapshot, then what changed since."""

from collections import deque
from typing import Any, Literal, NamedTuple

import orjson

ChangeKind = Literal["app", "slot", "request", "file", "files"]
"""`files`: so many of a request's have changed that they are not told one by one."""


class Change(NamedTuple):
    """`text`: `kind`, `key` and the whole new `value` of that as JSON, once for all who follow."""

    number: int
    kind: ChangeKind
    key: str
    text: bytes

    @property
    def value(self) -> dict[str, Any] | None:
        """None: it is gone."""
        found: dict[str, Any] | None = orjson.loads(self.text)["value"]
        return found


class Changes:
    """The newest `most`. An id is `epoch-number`; the epoch tells one life of the server from the next."""

    def __init__(self, epoch: str, most: int) -> None:
        self.epoch = epoch
        self.number = 0
        self._kept: deque[Change] = deque(maxlen=most)

    def add(self, kind: ChangeKind, key: str, value: dict[str, Any] | None) -> None:
        self.number += 1
        text = orjson.dumps({"kind": kind, "key": key, "value": value})
        # A copy: what orjson gives holds kilobytes of room behind its text.
        self._kept.append(Change(self.number, kind, key, bytes(memoryview(text))))

    def id(self, number: int) -> str:
        """What a server-sent event says in its `id`."""
        return f"{self.epoch}-{number}"

    def since(self, last_id: str) -> list[Change] | None:
        """What came after `last_id`; None: that is not kept, or of another life: begin with a snapshot."""
        epoch, _, digits = last_id.rpartition("-")
        if epoch != self.epoch or not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
            return None
        last = int(digits)
        if last > self.number or last < self.number - len(self._kept):
            return None
        missing = self.number - last
        kept = len(self._kept)
        return [self._kept[index] for index in range(kept - missing, kept)]
