"""One thread per server: takes what is due there from the store, does it, and waits out its outages.

Jobs that were held up there (a lock, a statement that took too long) go to a second, patient thread,
so that others do not wait for them.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from siwatsystem.actions.base import Problem
from siwatsystem.actions.contention import Contention
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.pulse import PulsedThread
from siwatsystem.actions.registry import Sink, open_sink
from siwatsystem.actions.store import Store
from siwatsystem.actions.suspects import Suspects
from siwatsystem.actions.targets import Target
from siwatsystem.actions.troubles import Refusal, Troubles
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionFailed, ActionRefused, TargetContended, TargetUnavailable
from siwatsystem.metrics import ACTIONS_DONE
from siwatsystem.tracing.tracer import Tracer

log = logging.getLogger(__name__)

_BATCH = 32
_IDLE_SEC = 5.0
_OLDEST_SEC = 1.0
"""How often it is asked since when jobs wait, while there are some to do."""
_FINAL_CLASSES = ("22", "23", "42")
"""SQLSTATEs that blame the record, not the server: bad data, a broken constraint, no such table or right."""
_TOO_LONG = "57014"
"""SQLSTATE of a statement that the server ended after its time-out."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a delivery needs from the outbox that starts it."""

    store: Store
    settings: OutboxSettings
    resolve: Callable[[Target], Mapping[str, Any]]
    """How to reach a target now. Raises TargetUnavailable."""
    troubles: Troubles
    contention: Contention
    disk_trouble: Callable[[sqlite3.Error], None]
    wake: Callable[[str], None]
    """A target's turn has come."""
    changed: Callable[[], None]
    """Something left the store, or a server went or came."""
    tracer: Tracer | None = None


class Delivery:
    """The delivery to one target. Jobs of a lane go one by one; a lane that waits holds up no other.

    The `patient` one does what was held up before. A delivery that succeeds another (`before`) knows what
    that one knew of the server; the other does no further job.
    """

    def __init__(
        self, target: Target, around: Surroundings, *, patient: bool = False, before: "Delivery | None" = None
    ) -> None:
        self.target = target
        self.patient = patient
        self.outage: str | None = None if before is None else before.outage
        """What the server last said while it is away; None while it is there."""
        self.oldest: float | None = None if before is None else before.oldest
        """When (Unix time) the oldest job that waits for the server was stored; None where none waits."""
        self._oldest_asked = 0.0
        self._around = around
        self._sink: Sink | None = None
        self._suspects = Suspects()
        self._delay = 0.0 if before is None else before._delay
        self._finished: int | None = None
        """A job that was done and is still in the store, because the disk took nothing."""
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._thread = PulsedThread(self._run, f"outbox-{target.key}{'-patient' if patient else ''}")

    @property
    def bound_sec(self) -> float:
        """More than the longest that a job takes where the server has stopped answering."""
        settings = self._around.settings
        call = max(
            settings.statement_timeout_sec, settings.webhook_timeout_sec, 2 * settings.broker_timeout_sec
        )
        return 2 * (settings.command_timeout_sec + call + 1)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def hurry(self) -> None:
        """Try again at once, though the server was away."""
        self._delay = 0.0
        self._hurry.set()
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end; a job that it is at is finished first."""
        self._stopping.set()
        self.hurry()

    def abandon(self) -> None:
        """Another has taken its place: it does no further job, and a call that it hangs in is cut off."""
        self.stop()
        sink = self._sink
        if sink is not None:
            sink.cut()

    def complaint(self, now: float, limit: float) -> str | None:
        """Why it needs a successor; see `PulsedThread`."""
        return self._thread.complaint(now, limit)

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended."""
        return self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._thread.beat()
            try:
                self._round()
            except sqlite3.ProgrammingError:
                break  # The store was closed while a server kept this thread beyond its time.
            except sqlite3.Error as error:
                self._around.disk_trouble(error)
                self._nap(1.0)
            except Exception:
                log.exception("outbox: delivery to %s", self.target.place)
                self._nap(1.0)
        self._close_sink()

    def _round(self) -> None:
        self._wake.clear()
        store, key = self._around.store, self.target.key
        # Where the disk took no more, the job must not be done again and again until it does.
        self._remove_finished()
        if self.patient:
            self._around.contention.prune(store.among)
        heads = store.heads(key, time.time(), _BATCH + len(self._suspects), slow=self.patient)
        due = self._suspects.last(heads)
        if not self._deliver_all(due):
            self._nap(self._delay)
            return
        if not due:
            self._note_oldest()
            following = store.next_due(key, slow=self.patient)
            if following is None:
                self._ended("nothing waits any more for {}, which was away")
            pause = _IDLE_SEC if following is None else min(max(following - time.time(), 0.01), _IDLE_SEC)
            self._thread.rest()
            self._wake.wait(pause)

    def _note_oldest(self) -> None:
        """For who asks how long the server has kept its jobs waiting, who must not wait for the disk."""
        if self.patient:  # The other one sees these jobs as well.
            return
        self._oldest_asked = time.monotonic()
        store, key = self._around.store, self.target.key
        self.oldest = store.oldest(key) if store.counts.depth.get(key) else None

    def _nap(self, seconds: float) -> None:
        self._thread.rest()
        self._hurry.wait(seconds)
        self._hurry.clear()

    def _deliver_all(self, due: list[int]) -> bool:
        """Do these jobs; False if the server is away."""
        for seq in due:
            if self._stopping.is_set():
                return True
            self._thread.beat()
            if time.monotonic() - self._oldest_asked >= _OLDEST_SEC:
                self._note_oldest()
            job = self._around.store.load(seq)
            if job is not None and not self._deliver(job):
                return False
        return True

    def _deliver(self, job: StoredJob) -> bool:
        """Do the job or count its refusal; False if the server is away."""
        around = self._around
        if job.expires_at is not None and job.expires_at <= time.time():
            around.troubles.dropped("expired")
            ACTIONS_DONE.labels(job.kind, "expired", self.target.place).inc()
            self._finish(job.seq)
            return True
        if not self.patient and around.contention.avoided(_table(job)):
            around.store.set_slow(job.seq)
            around.wake(self.target.key)
            return True
        began = time.time()
        try:
            self._hand_over(job)
        except TargetContended as error:
            self._held_up(job, error)
        except TargetUnavailable as error:
            return self._unanswered(job, error)
        except ActionFailed as error:
            self._trace(job, began, _reason(error))
            self._refused(job, error, error.message)
        except Exception as error:
            # A mistake in a driver must cost this job, not the lane.
            log.exception("outbox: %s", job.kind)
            self._refused(job, error, f"{type(error).__name__}: {error}")
        else:
            self._trace(job, began)
            ACTIONS_DONE.labels(job.kind, "done", self.target.place).inc()
            around.troubles.taken(self.target.key, _table(job))
            self._finish(job.seq)
        self._suspects.taken(job.seq)
        self._delay = 0.0
        self._ended("{} is back")
        return True

    def _trace(self, job: StoredJob, began: float, error: str | None = None) -> None:
        """The server has answered: a span in the trace of the job's frame, where that was sampled."""
        tracer, parent = self._around.tracer, job.payload.get("traceparent")
        if tracer is not None and parent is not None:
            fields = {"server": self.target.place, "attempt": job.attempts + 1}
            tracer.action(job.kind, fields, parent, began, error)

    def _hand_over(self, job: StoredJob) -> None:
        sink = self._open_sink()
        try:
            sink.deliver(job)
        except ActionFailed as error:
            if not (job.kind.startswith("postgresql") and _final(job, error)):
                raise
            # What the sink knew of the table may have been out of date; it looks anew after a refusal.
            sink.deliver(job)

    def _finish(self, seq: int) -> None:
        """Take a job from the store, before the next is begun: a kill repeats one job at most, and a lane
        waits for no other's server."""
        self._finished = seq
        self._remove_finished()

    def _remove_finished(self) -> None:
        if self._finished is None:
            return
        following = self._around.store.done(self._finished)
        self._around.contention.over(self._finished)
        self._finished = None
        self._passed_on(following)

    def _passed_on(self, following: str | None) -> None:
        if following is not None:
            self._around.wake(following)
        self._around.changed()

    def _held_up(self, job: StoredJob, error: TargetContended) -> None:
        """Only this job's lane waits, for as long as something else holds what it needs."""
        if self._stopping.is_set():
            return
        table, settings = _table(job), self._around.settings
        before = job.attempts - job.refusals
        pause = _pause(settings, before)
        self._around.store.postpone(job.seq, time.time() + pause, error.message, refused=False, slow=True)
        slow = _sqlstate(error) == _TOO_LONG
        self._around.contention.begins(job.seq, table, error.message, slow=slow, again=before > 0)
        self._around.wake(self.target.key)
        self._around.changed()

    def _refused(self, job: StoredJob, error: Exception, words: str) -> None:
        settings, store = self._around.settings, self._around.store
        if self._stopping.is_set():
            return
        attempt = job.refusals + 1
        place = self.target.place
        what = f"{place if job.kind == self.target.kind else f'{job.kind} at {place}'} was refused: {words}"
        if attempt < settings.max_attempts and not _final(job, error):
            log.warning("outbox: %s (attempt %d of %d)", what, attempt, settings.max_attempts)
            store.postpone(job.seq, time.time() + _pause(settings, job.refusals), words, refused=True)
            return
        ACTIONS_DONE.labels(job.kind, "failed", self.target.place).inc()
        following = store.park(job.seq, words)
        self._around.contention.over(job.seq)
        self._passed_on(following)
        refusal = Refusal(self.target.key, self.target.place, _table(job), _reason(error))
        if self._around.troubles.refused(refusal, Problem("action_failed", what, job.subscription)):
            log.warning("outbox: %s; it is given up", what)

    def _unanswered(self, job: StoredJob, error: TargetUnavailable) -> bool:
        """Count a refusal where the server answers others, lest one job hold up all; False if it is away."""
        suspected = self.outage is None and self._suspects.has(job.seq)
        self._suspects.blame(job.seq)
        if suspected:
            self._close_sink()
            self._refused(job, error, error.message)
        else:
            self._away(error.message)
        return suspected

    def _away(self, words: str) -> None:
        if self._stopping.is_set():
            return
        first, settings = self.outage is None, self._around.settings
        self.outage = words
        self._delay = min(max(self._delay * 2, settings.retry_sec), settings.retry_max_sec)
        self._close_sink()
        self._around.changed()
        if first:
            self._note_outage(words)
            self._tell(f"{self.target.place} is away ({words}); its actions wait on disk")

    def _ended(self, words: str) -> None:
        """The server is there again, or nothing is tried there by which that could be found out."""
        if self.outage is None or self._stopping.is_set():
            return
        self.outage = None
        self._around.changed()
        self._note_outage(None)
        self._tell(words.format(self.target.place), ended=True)

    def _note_outage(self, words: str | None) -> None:
        with suppress(sqlite3.Error):  # Only for people who look into the file.
            self._around.store.note_outage(self.target.key, words)

    def _tell(self, message: str, *, ended: bool = False) -> None:
        if not self.patient:  # The other one meets the same outage.
            log.log(logging.INFO if ended else logging.WARNING, "outbox: %s", message)
            self._around.troubles.tell(Problem("action_failed", message, ended=ended))

    def _open_sink(self) -> Sink:
        if self._sink is None:
            # A server of our own may have to be made first, which takes its time and has its own limits.
            self._thread.rest()
            config = self._around.resolve(self.target)
            self._thread.beat()
            self._sink = open_sink(self.target.kind, config, self._around.settings, patient=self.patient)
        return self._sink

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def _pause(settings: OutboxSettings, before: int) -> float:
    """Seconds until the next attempt, when there were as many as `before` without luck."""
    return min(settings.retry_sec * 2 ** min(before, 20), settings.retry_max_sec)


def _table(job: StoredJob) -> str:
    """What a refusal is about: the job's table, else its kind."""
    return job.payload.get("table") or job.kind


def _final(job: StoredJob, error: Exception) -> bool:
    """Whether it would be refused again: by what the sink or the server's SQLSTATE says, or before it was
    sent."""
    if isinstance(error, ActionRefused):
        return True
    if not isinstance(error, ActionFailed) or not job.kind.startswith("postgresql"):
        return False
    code = _sqlstate(error)
    return code is None or code.startswith(_FINAL_CLASSES)


def _reason(error: Exception) -> str:
    """The SQLSTATE or the error's name: the words may quote a value, and differ each time."""
    given = error.reason if isinstance(error, ActionRefused) else None
    return given or _sqlstate(error) or type(error.__cause__ or error).__name__


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "pgcode", None)
