"""Events that wait in memory until the writer has put them on disk."""

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from siwatsystem.actions.base import OutboxEvent

_PENDING_BYTES = 256_000_000
"""Pictures not yet encoded that may wait in memory."""


@dataclass(eq=False, slots=True)
class Group:
    """Events that a writer has in hand. `stored` is set under the store's lock, together with storing."""

    events: list[OutboxEvent]
    stored: bool = False
    preparing: OutboxEvent | None = None
    """Whose pictures are being made."""


@dataclass(eq=False)
class Pending:
    """Thread-safe, with `changed` as its lock; bounded by `most` events and the memory of their pictures."""

    most: int
    changed: threading.Condition
    events: deque[OutboxEvent] = field(default_factory=deque[OutboxEvent])
    """Not taken yet."""
    bytes: int = 0
    holders: Counter[int] = field(default_factory=Counter[int])
    """How many events hold a picture, by its identity: it takes memory once."""
    waiting: set[str] = field(default_factory=set[str])
    """Ids of all events that are not on disk, those in a writer's hand included."""
    names: Counter[str] = field(default_factory=Counter[str])
    """Jobs of these events, by their target."""
    lost: deque[str] = field(default_factory=lambda: deque[str](maxlen=1000))
    """Ids of events that were dropped."""
    rejected: int = 0
    """Events that there was no room for, since somebody asked."""

    def add(self, event: OutboxEvent, *, closed: bool = False) -> bool:
        """Take an event; False where there is no room for it, which is counted."""
        with self.changed:
            size = sum(size for blob, size in _pictures(event).items() if blob not in self.holders)
            full = len(self.waiting) >= self.most
            if closed or full or (self.events and self.bytes + size > _PENDING_BYTES):
                self.rejected += 1
                self.lost.append(event.event_id)
                self.changed.notify_all()
                return False
            self.events.append(event)
            self.bytes += size
            self.holders.update(_pictures(event).keys())
            self.waiting.add(event.event_id)
            self.names.update(job.target for job in event.jobs)
            self.changed.notify_all()
            return True

    def group(self, most: int) -> Group | None:
        """The next events; None where there are none."""
        with self.changed:
            events = [self.events.popleft() for _ in range(min(len(self.events), most))]
        return Group(events) if events else None

    def overload(self) -> tuple[int, bool]:
        """Events that there was no room for since the last call, and whether there is plenty of room now."""
        with self.changed:
            rejected, self.rejected = self.rejected, 0
            return rejected, len(self.waiting) <= self.most // 2

    def forget(self, group: Group, *, lost: bool = False) -> list[OutboxEvent]:
        """They no longer wait in memory: they are stored, or `lost`. Empties the group, so that no event is
        forgotten twice."""
        with self.changed:
            events, group.events = group.events, []
            for event in events:
                self._let_go(event)
                self._forget_targets(event)
                self.waiting.discard(event.event_id)
                if lost:
                    self.lost.append(event.event_id)
        return events

    def _forget_targets(self, event: OutboxEvent) -> None:
        for job in event.jobs:
            self.names[job.target] -= 1
            if not self.names[job.target]:
                del self.names[job.target]

    def _let_go(self, event: OutboxEvent) -> None:
        """Its pictures are no longer held, but for those that other events hold as well."""
        for blob, size in _pictures(event).items():
            self.holders[blob] -= 1
            if not self.holders[blob]:
                del self.holders[blob]
                self.bytes -= size


def _pictures(event: OutboxEvent) -> dict[int, int]:
    """Bytes of memory that the event's pictures take while it waits, by their identity."""
    blobs = [job.blob for job in event.jobs if job.blob is not None]
    return {id(blob): len(blob) if isinstance(blob, bytes) else blob.nbytes for blob in blobs}
