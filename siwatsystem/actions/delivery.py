"""One thread per server: takes what is due there from the store, does it, and waits out its outages."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from siwatsystem.actions.base import Problem
from siwatsystem.actions.registry import Sink, open_sink
from siwatsystem.actions.store import Store, StoredJob
from siwatsystem.actions.targets import Target
from siwatsystem.actions.troubles import Refusal, Troubles
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionFailed, TargetUnavailable
from siwatsystem.metrics import ACTIONS_DONE

log = logging.getLogger(__name__)

_BATCH = 32
_IDLE_SEC = 5.0
_TOGETHER_SEC = 0.05
"""For how long jobs that were done wait for others to be taken from the store with them."""
_FINAL_CLASSES = ("22", "23", "42")
"""SQLSTATEs that blame the record, not the server: bad data, a broken constraint, no such table or right."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a delivery needs from the outbox that starts it."""

    store: Store
    settings: OutboxSettings
    resolve: Callable[[Target], Mapping[str, Any]]
    """How to reach a target now. Raises TargetUnavailable."""
    troubles: Troubles
    disk_trouble: Callable[[sqlite3.Error], None]
    wake: Callable[[str], None]
    """Another target's turn has come."""
    changed: Callable[[], None]
    """Something left the store, or a server went or came."""


class Delivery:
    """The delivery to one target. Jobs of a lane go one by one; a lane that waits holds up no other."""

    def __init__(self, target: Target, around: Surroundings) -> None:
        self.target = target
        self.outage: str | None = None
        """What the server last said while it is away; None while it is there."""
        self._around = around
        self._sink: Sink | None = None
        self._delay = 0.0
        self._unwritten: set[int] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"outbox-{target.key}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end; a job that it is at is finished first."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._round()
            except sqlite3.ProgrammingError:
                break  # The store was closed while a server kept this thread beyond its time.
            except sqlite3.Error as error:
                self._around.disk_trouble(error)
                self._stopping.wait(1.0)
            except Exception:
                log.exception("outbox: delivery to %s", self.target.place)
                self._stopping.wait(1.0)
        self._close_sink()

    def _round(self) -> None:
        self._wake.clear()
        store = self._around.store
        self._write_finished()
        due = store.heads(self.target.key, time.time(), _BATCH)
        try:
            away = not self._deliver_all(due)
        finally:
            # Together: each of them alone would be a transaction. They are of different lanes.
            self._write_finished()
        if away:
            self._stopping.wait(self._delay)
            return
        if not due:
            following = store.next_due(self.target.key)
            pause = _IDLE_SEC if following is None else min(max(following - time.time(), 0.01), _IDLE_SEC)
            self._wake.wait(pause)

    def _deliver_all(self, due: list[int]) -> bool:
        """Do these jobs; False if the server is away."""
        began = time.monotonic()
        for seq in due:
            if self._stopping.is_set():
                return True
            job = self._around.store.load(seq)
            if job is not None and not self._deliver(job):
                return False
            if time.monotonic() - began > _TOGETHER_SEC:
                self._write_finished()
                began = time.monotonic()
        return True

    def _deliver(self, job: StoredJob) -> bool:
        """Do the job or count its refusal; False if the server is away."""
        if job.expires_at is not None and job.expires_at <= time.time():
            self._around.troubles.dropped("expired")
            ACTIONS_DONE.labels(job.kind, "expired").inc()
            self._unwritten.add(job.seq)
            return True
        try:
            self._hand_over(job)
        except TargetUnavailable as error:
            self._away(error.message)
            return False
        except ActionFailed as error:
            self._refused(job, error, error.message)
        except Exception as error:
            # A mistake in a driver must cost this job, not the lane.
            log.exception("outbox: %s", job.kind)
            self._refused(job, error, f"{type(error).__name__}: {error}")
        else:
            ACTIONS_DONE.labels(job.kind, "done").inc()
            self._around.troubles.taken(self.target.key, _table(job))
            # Where the disk takes no more, the job must not be done again and again until it does.
            self._unwritten.add(job.seq)
        self._back()
        return True

    def _hand_over(self, job: StoredJob) -> None:
        sink = self._open_sink()
        try:
            sink.deliver(job)
        except ActionFailed as error:
            if not _final(job, error):
                raise
            # What the sink knew of the table may have been out of date; it looks anew after a refusal.
            sink.deliver(job)

    def _write_finished(self) -> None:
        """Take what was done from the store, and let the jobs behind it have their turn."""
        if self._unwritten:
            following = self._around.store.done(self._unwritten)
            self._unwritten.clear()
            self._passed_on(following)

    def _passed_on(self, following: set[str]) -> None:
        for target in following:
            if target == self.target.key:
                self._wake.set()
            else:
                self._around.wake(target)
        self._around.changed()

    def _refused(self, job: StoredJob, error: Exception, words: str) -> None:
        settings = self._around.settings
        attempt = job.attempts + 1
        what = f"{job.kind} at {self.target.place} was refused: {words}"
        if attempt < settings.max_attempts and not _final(job, error):
            log.warning("outbox: %s (attempt %d of %d)", what, attempt, settings.max_attempts)
            pause = min(settings.retry_sec * 2**job.attempts, settings.retry_max_sec)
            self._around.store.postpone(job.seq, time.time() + pause)
            return
        ACTIONS_DONE.labels(job.kind, "failed").inc()
        following = self._around.store.park(job.seq, words)
        self._passed_on(set() if following is None else {following})
        refusal = Refusal(self.target.key, self.target.place, _table(job), _reason(error))
        if self._around.troubles.refused(refusal, Problem("action_failed", what, job.subscription)):
            log.warning("outbox: %s; it is given up", what)

    def _away(self, words: str) -> None:
        first, settings = self.outage is None, self._around.settings
        self.outage = words
        self._delay = min(max(self._delay * 2, settings.retry_sec), settings.retry_max_sec)
        self._close_sink()
        self._around.changed()
        if first:
            message = f"{self.target.place} is away ({words}); its actions wait on disk"
            self._around.troubles.tell(Problem("action_failed", message))

    def _back(self) -> None:
        if self.outage is None:
            return
        self.outage, self._delay = None, 0.0
        self._around.changed()
        self._around.troubles.tell(Problem("action_failed", f"{self.target.place} is back", ended=True))

    def _open_sink(self) -> Sink:
        if self._sink is None:
            config = self._around.resolve(self.target)
            self._sink = open_sink(self.target.kind, config, self._around.settings)
        return self._sink

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def _table(job: StoredJob) -> str:
    """What a refusal is about: the job's table, else its kind."""
    return job.payload.get("table") or job.kind


def _final(job: StoredJob, error: Exception) -> bool:
    """Whether the same record would be refused again: by the server's SQLSTATE, or before it was sent."""
    if not isinstance(error, ActionFailed) or not job.kind.startswith("postgresql"):
        return False
    code = _sqlstate(error)
    return code is None or code.startswith(_FINAL_CLASSES)


def _reason(error: Exception) -> str:
    """The SQLSTATE or the error's name: the words may quote a value, and differ each time."""
    return _sqlstate(error) or type(error.__cause__ or error).__name__


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "pgcode", None)
