"""Jobs as the outbox keeps them: about to be stored, stored, counted, dropped."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from siwatsystem.actions.base import Job, JobKind


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as the outbox keeps it; `blob` is filled by `Store.load`."""

    seq: int
    event: str
    subscription: str | None
    target: str
    kind: JobKind
    key: str
    """The same at every attempt."""
    payload: Mapping[str, Any]
    expires_at: float | None
    attempts: int
    """Times that it was tried and the server answered."""
    refusals: int
    """Of these, the times that the server refused it; a lock that was held is none."""
    blob: bytes | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A job about to be stored: its payload as JSON, its rank among what is dropped first, its blob made."""

    job: Job
    payload: str
    rank: int
    blob: bytes | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A job that made room; `failed`: one that was given up before and kept."""

    kind: JobKind
    event: str
    subscription: str | None
    target: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """What the file held after the last change to it: jobs by target and their bytes, jobs given up and
    their bytes."""

    depth: Mapping[str, int]
    waiting_bytes: int
    failed: int
    failed_bytes: int

    @property
    def size(self) -> int:
        """Bytes of all jobs, as the size cap counts them."""
        return self.waiting_bytes + self.failed_bytes


@dataclass(slots=True)
class Tally:
    """The same while it changes."""

    depth: Counter[str] = field(default_factory=Counter[str])
    waiting_bytes: int = 0
    failed: int = 0
    failed_bytes: int = 0

    @property
    def size(self) -> int:
        return self.waiting_bytes + self.failed_bytes

    def copy(self) -> "Tally":
        return Tally(self.depth.copy(), self.waiting_bytes, self.failed, self.failed_bytes)

    def counts(self) -> Counts:
        depth = {target: count for target, count in self.depth.items() if count}
        return Counts(depth, self.waiting_bytes, self.failed, self.failed_bytes)
