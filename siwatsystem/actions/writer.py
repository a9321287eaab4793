"""The thread that puts events on disk: makes their pictures, stores whole events, tells what was dropped."""

import json
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.jobs import Dropped, Entry
from siwatsystem.actions.pending import Group, Pending
from siwatsystem.actions.pulse import PulsedThread
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.servers import Servers
from siwatsystem.actions.store import Store
from siwatsystem.actions.troubles import Troubles
from siwatsystem.metrics import ACTIONS_DONE
from siwatsystem.tracing.tracer import EventSpan

log = logging.getLogger(__name__)

_GROUP = 32
_DISK_RETRY_SEC = 1.0
_LOOK_SEC = 1.0
"""How often it looks around without new events: so soon are requests of `siwat outbox` carried out."""
_STRIKES = 2
"""An event on which as many writers ended is given up."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a writer needs from the outbox, and what it leaves to its successor."""

    store: Store
    pending: Pending
    servers: Servers
    troubles: Troubles
    disk_trouble: Callable[[sqlite3.Error], None]
    changed: Callable[[], None]
    """Something came into the store or was given up."""
    untold: deque[Problem] = field(default_factory=lambda: deque[Problem](maxlen=1000))
    strikes: Counter[str] = field(default_factory=Counter[str])
    """Writers that ended on an event, by its id."""


class Writer:
    """One at a time. A writer that succeeds another (`before`) takes over the events that it had in hand,
    each of which is stored by exactly one of them."""

    def __init__(self, desk: Desk, before: "Writer | None" = None) -> None:
        self._desk = desk
        self._hand: list[Group] = []
        """Taken and not forgotten yet."""
        self._replaced = False
        self._closing = False
        self._untidy = True
        self._thread = PulsedThread(self._run, "outbox-writer")
        if before is not None:
            with desk.pending.changed:
                before._replaced = True
                self._hand = list(before._hand)
                self._closing = before._closing
                desk.pending.changed.notify_all()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask the thread to put on disk what waits, and to end."""
        with self._desk.pending.changed:
            self._closing = True
            self._desk.pending.changed.notify_all()

    def complaint(self, now: float, limit: float) -> str | None:
        """Why it needs a successor; see `PulsedThread`."""
        return self._thread.complaint(now, limit)

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended."""
        return self._thread.join(timeout)

    def _run(self) -> None:
        for group in list(self._hand):
            self._resume(group)
        while not self._replaced:
            self._thread.rest()
            group = self._take()
            self._thread.beat()
            if group is None and self._closing:
                return
            try:
                if group is not None:
                    self._write(group)
                self._look_around()
            except Exception:
                log.exception("outbox: writing")
                if group is not None:
                    self._write_singly(group)

    def _take(self) -> Group | None:
        pending = self._desk.pending
        with pending.changed:
            pending.changed.wait_for(self._something_to_do, _LOOK_SEC)
            group = None if self._replaced else pending.group(_GROUP)
            if group is not None:
                self._hand.append(group)
            return group

    def _something_to_do(self) -> bool:
        waits = self._desk.pending.events or self._desk.pending.rejected or self._desk.untold
        return bool(waits or self._closing or self._replaced)

    def _resume(self, group: Group) -> None:
        """Go on with what the writer before had in hand, who stores nothing of it any more."""
        with self._desk.store.lock:
            if group.stored:
                self._forget(group)
                return
            if (suspect := group.preparing) is not None:
                self._desk.strikes[suspect.event_id] += 1
        self._write_singly(group)

    def _write(self, group: Group) -> None:
        """Put the events on disk and forget them; they stay in the group if the outbox closes first."""
        entries: list[tuple[OutboxEvent, list[Entry]]] = []
        for event in list(group.events):
            group.preparing = event
            self._thread.beat()
            entries.append((event, self._entries(event)))
        group.preparing = None
        while group.events and not self._replaced:
            self._thread.beat()
            try:
                with self._desk.store.lock:
                    # A successor may have taken them over while this thread was held up.
                    if self._replaced or not group.events:
                        return
                    dropped, following = self._desk.store.append(entries, self._desk.servers.targets)
                    group.stored = True
            except sqlite3.Error as error:
                self._desk.disk_trouble(error)
                if self._closed_within(_DISK_RETRY_SEC):
                    return
                # What somebody drops makes room on a full disk.
                with suppress(sqlite3.Error):
                    self._carry_out()
            else:
                self._forget(group)
                for key in following | {entry.job.target for _, found in entries for entry in found}:
                    self._desk.servers.wake(key)
                self._written(dropped)

    def _closed_within(self, seconds: float) -> bool:
        self._thread.rest()
        with self._desk.pending.changed:
            return self._desk.pending.changed.wait_for(lambda: self._closing or self._replaced, seconds)

    def _write_singly(self, group: Group) -> None:
        """What could not be stored together, so that one event's mistake costs no other."""
        with self._desk.store.lock, self._desk.pending.changed:
            if group.stored or self._replaced:
                return
            singles = [Group([event]) for event in group.events]
            group.events = []
            if group in self._hand:
                place = self._hand.index(group)
                self._hand[place : place + 1] = singles
        for single in singles:
            if self._replaced:
                return
            event = single.events[0]
            try:
                if self._desk.strikes[event.event_id] >= _STRIKES:
                    raise RuntimeError("the writer ended on it again and again")
                self._write(single)
            except Exception as error:
                log.exception("outbox: an event cannot be stored")
                if single.events:
                    message = f"an event's actions could not be stored: {type(error).__name__}"
                    self._desk.untold.append(Problem("action_failed", message, event.subscription))
                    self._forget(single, lost=True)

    def _entries(self, event: OutboxEvent) -> list[Entry]:
        found: list[Entry] = []
        for job in event.jobs:
            try:
                for text in (event.event_id, event.lane, event.subscription, job.key):
                    (text or "").encode()
                found.append(self._entry(job, event.span))
            except (ValueError, TypeError, KeyError) as error:
                ACTIONS_DONE.labels(job.kind, "failed", self._desk.servers.place(job.target)).inc()
                message = f"{job.kind} could not be prepared: {error}"
                self._desk.troubles.tell(Problem("action_failed", message, event.subscription))
        return found

    def _entry(self, job: Job, span: EventSpan | None) -> Entry:
        if job.target not in self._desk.servers.targets:
            raise KeyError(f"no server {job.target}")
        # Beside what the action says, so that its delivery, perhaps by a later process, finds the trace.
        traced = {} if span is None else {"traceparent": span.traceparent}
        payload = json.dumps({**job.payload, **traced}, ensure_ascii=False)
        # SQLite fails on half a surrogate pair, which JSON may hold, and would take the group with it.
        payload.encode()
        blob = job.blob() if callable(job.blob) else job.blob
        return Entry(job, payload, KINDS[job.kind].rank, blob)

    def _written(self, dropped: Sequence[Dropped]) -> None:
        """The disk took a group; what had to go for it is counted and told."""
        self._untidy = True
        troubles = self._desk.troubles
        troubles.ends("disk")
        waiting = [job for job in dropped if not job.failed]
        if given_up := len(dropped) - len(waiting):
            troubles.dropped("given_up", given_up)
        for job in waiting:
            troubles.dropped("outbox_full")
            ACTIONS_DONE.labels(job.kind, "dropped", self._desk.servers.place(job.target)).inc()
        if waiting:
            kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(j.kind for j in waiting).items())
            size = self._desk.store.max_bytes // 1_000_000
            troubles.begins("full", "outbox_full", f"the outbox is over {size} MB and drops: {kinds}, …")

    def _look_around(self) -> None:
        """After each round: what began or ended meanwhile, what was asked, and the figures."""
        desk = self._desk
        rejected, calm = desk.pending.overload()
        while desk.untold:
            desk.troubles.tell(desk.untold.popleft())
        if rejected:
            message = f"more events than the outbox can take: {rejected} dropped, …"
            desk.troubles.begins("overload", "overloaded", message)
        elif calm:
            desk.troubles.ends("overload")
        if desk.store.counts.waiting_bytes < desk.store.max_bytes * 0.9:
            desk.troubles.ends("full")
        desk.servers.move_gauges()
        try:
            if desk.troubles.lasts("disk"):
                desk.store.probe()
                desk.troubles.ends("disk")
            self._carry_out()
            desk.servers.retire()
            if not desk.store.counts.depth and self._untidy and not desk.pending.events:
                desk.store.tidy()
                self._untidy = False
        except sqlite3.Error as error:
            desk.disk_trouble(error)

    def _carry_out(self) -> None:
        """Do what was asked of the outbox by writing into its file."""
        for number, words in self._desk.store.requests():
            answer, targets = self._desk.store.answer(number, words)
            log.info("outbox: was asked %s; %s", words, answer)
            self._untidy = True
            for key in targets:
                self._desk.servers.hurry(key)
            self._desk.changed()

    def _forget(self, group: Group, *, lost: bool = False) -> None:
        """They no longer wait in memory."""
        pending = self._desk.pending
        with pending.changed:
            events = pending.forget(group, lost=lost)
            if group in self._hand:
                self._hand.remove(group)
        for event in events:
            self._desk.strikes.pop(event.event_id, None)
            if event.span is not None:
                event.span.end(lost=lost)
        if lost:
            self._desk.troubles.dropped("failed", sum(len(event.jobs) for event in events))
        self._desk.changed()
