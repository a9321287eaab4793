"""What events cause, safe on disk before anything else and out as soon as the servers take it.

`submit` hands an event to the writer's thread, which makes pictures of it and stores whole events;
deliveries (one thread per server, and a second one where something is held up) take them from there.
Nobody who submits ever waits.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from siwatsystem.actions.base import OutboxEvent, Problem
from siwatsystem.actions.contention import Contention
from siwatsystem.actions.delivery import Delivery, Surroundings
from siwatsystem.actions.guard import hold
from siwatsystem.actions.pending import Pending
from siwatsystem.actions.schema import damaged
from siwatsystem.actions.servers import IDLE_SEC, Servers
from siwatsystem.actions.store import Store
from siwatsystem.actions.targets import Target
from siwatsystem.actions.troubles import Troubles
from siwatsystem.actions.writer import Desk, Writer
from siwatsystem.config import OutboxSettings, SupervisionSettings
from siwatsystem.errors import TargetUnavailable
from siwatsystem.supervision import Forget, Watch, Watched, unwatched
from siwatsystem.tracing.tracer import Tracer

log = logging.getLogger(__name__)

_HELD_SEC = 2.0
"""For so long another process, such as `siwat outbox`, may hold the file before it is told as held."""


class Embedded(Protocol):
    """The worker's own servers, as `embedded.servers.EmbeddedServers` has them."""

    def redis(self) -> dict[str, Any]: ...
    def postgresql(self) -> dict[str, Any]: ...


class Outbox:
    """The outbox at `path`; thread-safe. What was left there is delivered from the start on.

    `on_problem` is called on threads of the outbox and must not block. `watch` looks after its threads;
    one that has not come round for `stuck_sec` is replaced, and that of a server which nobody has used for
    `idle_sec` ends. Raises InvalidSetting if another process
    holds the file or a later version wrote it; a damaged file is moved aside and told.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        path: Path,
        *,
        on_problem: Callable[[Problem], None] = lambda problem: None,
        embedded: Embedded | None = None,
        watch: Watch = unwatched,
        stuck_sec: float = SupervisionSettings().outbox_stuck_sec,
        idle_sec: float = IDLE_SEC,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._path = path
        self._embedded = embedded
        self._troubles = Troubles(on_problem)
        self._watch = watch
        self._stuck_sec = stuck_sec
        self._tracer = tracer
        self._failed: dict[str, str] = {}
        """Threads that could not be kept alive, and why."""
        self._guard = hold(path, _HELD_SEC)
        try:
            self._store = Store(path, settings.max_mb * 1_000_000)
        except BaseException:
            self._guard.close()
            raise
        self._changed = threading.Condition()
        self._changes = 0
        self._pending = Pending(settings.pending, self._changed)
        self._closing = False
        if self._store.complaint:
            self._begun_anew(self._store.complaint)
        self._forget_servers()
        self._servers = Servers(
            *(self._store, self._pending, self._troubles),
            *(self._surroundings, self._look_after, idle_sec),
        )
        for key in self.depth():
            self._servers.wake(key)
        self._desk = Desk(
            store=self._store,
            pending=self._pending,
            servers=self._servers,
            troubles=self._troubles,
            disk_trouble=self._disk_trouble,
            changed=self._note_change,
        )
        self._writer = Writer(self._desk)
        self._writer.start()
        self._forget_writer = self._look_after(
            "outbox writer", path.name, lambda: self._writer, self._replace_writer
        )

    def register(self, target: Target) -> str:
        """Make a server known; returns the key that jobs name it by. Touches no disk."""
        return self._servers.register(target)

    def release(self, key: str) -> None:
        """Once for each `register`, when nothing is submitted for the server any more: with the last one it
        may be forgotten, once all that was has been delivered."""
        self._servers.release(key)

    def submit(self, event: OutboxEvent) -> None:
        """Take an event; never blocks. Beyond what may wait in memory it is dropped, counted and told."""
        if not event.jobs:
            return
        with self._changed:
            taken = self._pending.add(event, closed=self._closing)
        if not taken:
            if event.span is not None:
                event.span.end(lost=True)
            self._troubles.dropped("overloaded", len(event.jobs))

    def flush(self, event_id: str, timeout: float) -> bool:
        """Wait until an event's jobs have been delivered (or given up), or are on disk because a server
        is away or something is held up there. False if it was dropped or that took longer than `timeout`
        seconds."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen, lost = self._changes, event_id in self._pending.lost
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
        deliveries = self._servers.all()
        with self._changed:
            pending = len(self._pending.waiting)
            failed = [f"{name} has failed: {reason}" for name, reason in self._failed.items()]
        counts = self._store.counts
        outages: dict[str, str | None] = {}
        for (key, _), one in deliveries.items():
            outages[key] = outages.get(key) or one.outage
        servers = [
            {
                "server": deliveries[key, False].target.place,
                "waiting": counts.depth.get(key, 0),
                "oldestSec": _age(deliveries[key, False].oldest),
                "error": outage,
            }
            for key, outage in outages.items()
        ]
        away = [f"{one['server']} is away: {one['error']}" for one in servers if one["error"]]
        return {
            "depth": sum(counts.depth.values()),
            "bytes": counts.size,
            "pending": pending,
            "failed": counts.failed,
            "dropped": self._troubles.drops(),
            "servers": servers,
            "degraded": failed + self._troubles.lasting() + away,
        }

    def close(self, timeout: float = 5.0) -> None:
        """Put what waits in memory on disk, stop the threads, close the file; within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            if self._closing:
                return
            self._closing = True
        self._forget_writer()
        deliveries = self._servers.close()
        self._writer.close()
        for delivery in deliveries:
            delivery.stop()
        self._writer.join(timeout)
        for delivery in deliveries:
            if not delivery.join(max(deadline - time.monotonic(), 0.1)):
                log.warning("outbox: %s still holds its thread", delivery.target.place)
        if self._pending.waiting:
            log.error("outbox: %d events could not be put on disk", len(self._pending.waiting))
        if not self._store.close(max(deadline - time.monotonic(), 0.1)):
            # The lock on the file goes with this process, which may still write to it.
            log.error("outbox: the disk does not answer; the file is left as it is")
            return
        self._guard.close()

    def _settled(self, event_id: str) -> bool:
        if event_id in self._pending.waiting:
            return False
        waited = self._store.waits_for(event_id)
        if waited is None:
            return True
        return self._servers.waits(waited.target, waited.seq)

    def _forget_servers(self) -> None:
        try:
            self._store.forget_servers()
        except sqlite3.Error as error:
            self._disk_trouble(error)

    def _disk_trouble(self, error: sqlite3.Error) -> None:
        if damaged(error):
            self._begun_anew(self._store.recover(error))
        else:
            log.warning("outbox: %s", error)
            self._troubles.begins("disk", "outbox_full", f"the outbox cannot be written: {error}")
            self._store.reclaim()

    def _begun_anew(self, words: str) -> None:
        """What was not delivered is in another file now, which somebody has to see: told until a restart."""
        self._troubles.begins(words, "action_failed", words)

    def _note_change(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _look_after(
        self, kind: str, name: str, part: Callable[[], Writer | Delivery | None], replace: Callable[[], None]
    ) -> Forget:
        def look(now: float) -> str | None:
            one = part()
            if one is None or self._closing:
                return None
            # A job that a hung server keeps is ended in its own time.
            limit = max(self._stuck_sec, one.bound_sec if isinstance(one, Delivery) else 0.0)
            return one.complaint(now, limit)

        failed = partial(self._note_failed, f"{kind} {name}")
        forget = self._watch(Watched(kind, name, look, replace, failed))

        def forgotten() -> None:
            forget()
            failed(None)

        return forgotten

    def _note_failed(self, name: str, reason: str | None) -> None:
        with self._changed:
            if reason is None:
                self._failed.pop(name, None)
            else:
                self._failed[name] = reason

    def _replace_writer(self) -> None:
        with self._changed:
            if self._closing:
                return
            self._writer = Writer(self._desk, self._writer)
            self._writer.start()

    def _surroundings(self, contention: Contention) -> Surroundings:
        return Surroundings(
            store=self._store,
            settings=self._settings,
            resolve=self._resolve,
            troubles=self._troubles,
            contention=contention,
            disk_trouble=self._disk_trouble,
            wake=self._servers.wake,
            changed=self._note_change,
            tracer=self._tracer,
        )

    def _resolve(self, target: Target) -> Mapping[str, Any]:
        if not target.embedded:
            return dict(target.settings)
        if self._embedded is None:
            raise TargetUnavailable("this worker has no embedded servers")
        return self._embedded.redis() if target.kind == "redis" else self._embedded.postgresql()


def _age(since: float | None) -> float:
    """Seconds since then (Unix time), by a clock that may have been set meanwhile; 0 where nothing waits."""
    return 0.0 if since is None else round(max(time.time() - since, 0.0), 1)
