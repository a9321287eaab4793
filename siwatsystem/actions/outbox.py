"""What events cause, safe on disk before anything else and out as soon as the servers take it.

`submit` hands an event to the writer's thread, which makes pictures of it and stores whole events;
deliveries (one thread per server) take them from there. Nobody who submits ever waits.
"""

import fcntl
import json
import logging
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.delivery import Delivery, Surroundings
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.store import Dropped, Entry, Store, damaged
from siwatsystem.actions.targets import Target
from siwatsystem.actions.troubles import Troubles
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import InvalidSetting, TargetUnavailable
from siwatsystem.metrics import ACTIONS_DONE, OUTBOX_DEPTH

log = logging.getLogger(__name__)

_GROUP = 32
_PENDING_BYTES = 256_000_000
"""Pictures not yet encoded that may wait in memory."""
_DISK_RETRY_SEC = 1.0
_IDLE_SEC = 5.0


class Embedded(Protocol):
    """The worker's own servers, as `embedded.servers.EmbeddedServers` has them."""

    def redis(self) -> dict[str, Any]: ...
    def postgresql(self) -> dict[str, Any]: ...


class Outbox:
    """The outbox at `path`; thread-safe. What was left there is delivered from the start on.

    `on_problem` is called on threads of the outbox and must not block. Raises InvalidSetting if
    another process holds the file; a damaged file is moved aside and told.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        path: Path,
        *,
        on_problem: Callable[[Problem], None] = lambda problem: None,
        embedded: Embedded | None = None,
    ) -> None:
        self._settings = settings
        self._path = path
        self._embedded = embedded
        self._troubles = Troubles(on_problem)
        self._guard = _hold(path)
        self._store = Store(path, settings.max_mb * 1_000_000)
        self._targets = self._store.targets()
        self._deliveries: dict[str, Delivery] = {}
        self._changed = threading.Condition()
        self._changes = 0
        self._pending: deque[OutboxEvent] = deque()
        self._pending_bytes = 0
        self._holders: Counter[int] = Counter()
        """How many events hold a picture, by its identity: it takes memory once."""
        self._waiting: set[str] = set()
        self._lost: deque[str] = deque(maxlen=1000)
        self._untold: deque[Problem] = deque(maxlen=1000)
        self._rejected = 0
        self._untidy = True
        self._closing = False
        if self._store.complaint:
            self._troubles.tell(Problem("action_failed", self._store.complaint))
        for key in self.depth():
            self._wake(key)
        self._writer = threading.Thread(target=self._write, name="outbox-writer", daemon=True)
        self._writer.start()

    def register(self, target: Target) -> str:
        """Make a server known; returns the key that jobs name it by. Touches no disk."""
        with self._changed:
            self._targets[target.key] = target
        return target.key

    def submit(self, event: OutboxEvent) -> None:
        """Take an event; never blocks. Beyond what may wait in memory it is dropped, counted and told."""
        if not event.jobs:
            return
        with self._changed:
            size = sum(size for blob, size in _pictures(event).items() if blob not in self._holders)
            full = len(self._waiting) >= self._settings.pending
            if full or self._closing or (self._pending and self._pending_bytes + size > _PENDING_BYTES):
                self._rejected += 1
                self._lost.append(event.event_id)
                self._troubles.dropped("overloaded", len(event.jobs))
            else:
                self._pending.append(event)
                self._pending_bytes += size
                self._holders.update(_pictures(event).keys())
                self._waiting.add(event.event_id)
            self._changed.notify_all()

    def flush(self, event_id: str, timeout: float) -> bool:
        """Wait until an event's jobs have been delivered (or given up), or are on disk because a server
        is away. False if it was dropped or that took longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen, lost = self._changes, event_id in self._lost
            if lost:
                return False
            # Not under the lock: the file may be busy, and `submit` must not wait for it.
            if self._settled(event_id):
                return True
            left = deadline - time.monotonic()
            if left <= 0 or self._closing:
                return False
            with self._changed:
                self._changed.wait_for(lambda: self._changes != seen, min(left, 1.0))  # noqa: B023

    def depth(self) -> dict[str, int]:
        """Jobs that wait on disk, by target key. Never waits for the disk."""
        return dict(self._store.counts.depth)

    def status(self) -> dict[str, Any]:
        """For `/health`: jobs and bytes on disk, events in memory, what was dropped and why, and what is
        wrong now (`degraded`, empty when nothing is). Names servers by host and port. Never waits for
        the disk."""
        with self._changed:
            deliveries = list(self._deliveries.values())
            pending = len(self._waiting)
        counts = self._store.counts
        servers = [
            {"server": one.target.place, "waiting": counts.depth.get(one.target.key, 0), "error": one.outage}
            for one in deliveries
        ]
        degraded = self._troubles.lasting() + [
            f"{one['server']} is away: {one['error']}" for one in servers if one["error"]
        ]
        return {
            "depth": sum(counts.depth.values()),
            "bytes": counts.size,
            "pending": pending,
            "failed": counts.failed,
            "dropped": self._troubles.drops(),
            "servers": servers,
            "degraded": degraded,
        }

    def close(self, timeout: float = 5.0) -> None:
        """Put what waits in memory on disk, stop the threads, close the file; within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
            deliveries = list(self._deliveries.values())
        for delivery in deliveries:
            delivery.stop()
        self._writer.join(timeout)
        for delivery in deliveries:
            if not delivery.join(max(deadline - time.monotonic(), 0.1)):
                log.warning("outbox: %s still holds its thread", delivery.target.place)
        if self._waiting:
            log.error("outbox: %d events could not be put on disk", len(self._waiting))
        self._store.close()
        self._guard.close()

    def _settled(self, event_id: str) -> bool:
        if event_id in self._waiting:
            return False
        target = self._store.waits_for(event_id)
        if target is None:
            return True
        delivery = self._deliveries.get(target)
        return delivery is not None and delivery.outage is not None

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._something_to_do, _IDLE_SEC)
                group = [self._pending.popleft() for _ in range(min(len(self._pending), _GROUP))]
                if not group and self._closing:
                    return
            try:
                self._write_group(group)
                self._look_around()
            except Exception:
                log.exception("outbox: writing")
                self._write_singly(group)

    def _something_to_do(self) -> bool:
        return bool(self._pending or self._rejected or self._untold or self._closing)

    def _write_group(self, group: list[OutboxEvent]) -> None:
        """Put the events on disk and take them out of `group`; they stay in it if the outbox closes first."""
        entries = [(event, self._entries(event)) for event in group]
        while group:
            try:
                dropped, following = self._store.append(entries, self._targets)
            except sqlite3.Error as error:
                self._disk_trouble(error)
                with self._changed:
                    if self._changed.wait_for(lambda: self._closing, _DISK_RETRY_SEC):
                        return
            else:
                self._forget(group)
                for key in following | {entry.job.target for _, found in entries for entry in found}:
                    self._wake(key)
                self._written(dropped)

    def _write_singly(self, group: list[OutboxEvent]) -> None:
        """What could not be stored together, so that one event's mistake costs no other."""
        for event in list(group):
            alone = [event]
            try:
                self._write_group(alone)
            except Exception as error:
                log.exception("outbox: an event cannot be stored")
                if alone:
                    message = f"an event's actions could not be stored: {type(error).__name__}"
                    self._untold.append(Problem("action_failed", message, event.subscription))
                    self._forget(alone, lost=True)

    def _entries(self, event: OutboxEvent) -> list[Entry]:
        found: list[Entry] = []
        for job in event.jobs:
            try:
                for text in (event.event_id, event.lane, event.subscription, job.key):
                    (text or "").encode()
                found.append(self._entry(job))
            except (ValueError, TypeError, KeyError) as error:
                ACTIONS_DONE.labels(job.kind, "failed").inc()
                message = f"{job.kind} could not be prepared: {error}"
                self._troubles.tell(Problem("action_failed", message, event.subscription))
        return found

    def _entry(self, job: Job) -> Entry:
        if job.target not in self._targets:
            raise KeyError(f"no server {job.target}")
        payload = json.dumps(dict(job.payload), ensure_ascii=False)
        # SQLite fails on half a surrogate pair, which JSON may hold, and would take the group with it.
        payload.encode()
        blob = job.blob() if callable(job.blob) else job.blob
        return Entry(job, payload, KINDS[job.kind].rank, blob)

    def _written(self, dropped: Sequence[Dropped]) -> None:
        """The disk took a group; what had to go for it is counted and told."""
        self._untidy = True
        self._troubles.ends("disk")
        for job in dropped:
            self._troubles.dropped("outbox_full")
            ACTIONS_DONE.labels(job.kind, "dropped").inc()
        if dropped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(j.kind for j in dropped).items())
            size = self._settings.max_mb
            self._troubles.begins(
                "full", "outbox_full", f"the outbox is over {size} MB and drops: {kinds}, …"
            )

    def _disk_trouble(self, error: sqlite3.Error) -> None:
        if damaged(error):
            self._troubles.tell(Problem("action_failed", self._store.recover(error)))
        else:
            log.warning("outbox: %s", error)
            self._troubles.begins("disk", "outbox_full", f"the outbox cannot be written: {error}")
            self._store.reclaim()

    def _look_around(self) -> None:
        """After each round: what began or ended meanwhile, and the figures."""
        with self._changed:
            rejected, self._rejected = self._rejected, 0
            calm = len(self._waiting) <= self._settings.pending // 2
        while self._untold:
            self._troubles.tell(self._untold.popleft())
        if rejected:
            message = f"more events than the outbox can take: {rejected} dropped, …"
            self._troubles.begins("overload", "overloaded", message)
        elif calm:
            self._troubles.ends("overload")
        if self._store.counts.size < self._store.max_bytes * 0.9:
            self._troubles.ends("full")
        depth = self.depth()
        for key in self._deliveries:
            OUTBOX_DEPTH.labels(key).set(depth.get(key, 0))
        try:
            if self._troubles.lasts("disk"):
                self._store.probe()
                self._troubles.ends("disk")
            if not depth and self._untidy and not self._pending:
                self._store.tidy()
                self._untidy = False
        except sqlite3.Error as error:
            self._disk_trouble(error)

    def _forget(self, group: list[OutboxEvent], *, lost: bool = False) -> None:
        """They no longer wait in memory; empties `group`, so that no event is forgotten twice."""
        with self._changed:
            for event in group:
                self._let_go(event)
                self._waiting.discard(event.event_id)
                if lost:
                    self._lost.append(event.event_id)
                    self._troubles.dropped("failed", len(event.jobs))
            group.clear()
        self._note_change()

    def _let_go(self, event: OutboxEvent) -> None:
        """Its pictures are no longer held, but for those that other events hold as well."""
        for blob, size in _pictures(event).items():
            self._holders[blob] -= 1
            if not self._holders[blob]:
                del self._holders[blob]
                self._pending_bytes -= size

    def _note_change(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _wake(self, key: str) -> None:
        """Have the delivery to that target look; started at its first job."""
        with self._changed:
            delivery = self._deliveries.get(key)
            if delivery is None and key in self._targets and not self._closing:
                delivery = self._deliveries[key] = Delivery(self._targets[key], self._surroundings())
                delivery.start()
        if delivery is not None:
            delivery.wake()

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            store=self._store,
            settings=self._settings,
            resolve=self._resolve,
            troubles=self._troubles,
            disk_trouble=self._disk_trouble,
            wake=self._wake,
            changed=self._note_change,
        )

    def _resolve(self, target: Target) -> Mapping[str, Any]:
        if not target.embedded:
            return dict(target.settings)
        if self._embedded is None:
            raise TargetUnavailable("this worker has no embedded servers")
        return self._embedded.redis() if target.kind == "redis" else self._embedded.postgresql()


def _pictures(event: OutboxEvent) -> dict[int, int]:
    """Bytes of memory that the event's pictures take while it waits, by their identity."""
    blobs = [job.blob for job in event.jobs if job.blob is not None]
    return {id(blob): len(blob) if isinstance(blob, bytes) else blob.nbytes for blob in blobs}


def _hold(path: Path) -> TextIOWrapper:
    """Keep other processes off the file; the kernel lets go of it if this one is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = path.with_name(path.name + ".lock").open("w")
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        guard.close()
        raise InvalidSetting(f"{path}: another process uses this outbox") from None
    return guard
