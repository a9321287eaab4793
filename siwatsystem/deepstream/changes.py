"""Numbered changes for clients that follow: a snapshot, then what changed since."""

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

ChangeKind = Literal["app", "slot", "request", "file"]


@dataclass(frozen=True, slots=True)
class Change:
    """`value` is the whole new value of what `key` names; None: it is gone."""

    number: int
    kind: ChangeKind
    key: str
    value: dict[str, Any] | None


class Changes:
    """The newest `most`. An id is `epoch-number`; the epoch tells one life of the server from the next."""

    def __init__(self, epoch: str, most: int) -> None:
        self.epoch = epoch
        self.number = 0
        self._kept: deque[Change] = deque(maxlen=most)

    def add(self, kind: ChangeKind, key: str, value: dict[str, Any] | None) -> None:
        self.number += 1
        self._kept.append(Change(self.number, kind, key, value))

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
