"""The outbox on disk: an SQLite file whose jobs form lanes, only the head of a lane being due.

Adding is written through to the disk before it counts (`synchronous=FULL`, one flush for a group of
events), so that not even a power cut takes what was accepted. Taking away is not (`NORMAL`): at worst a
job that was done comes back, and doing it again is allowed for messages and changes nothing for images
and records. A killed process loses neither.
"""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from siwatsystem.actions import schema
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.jobs import Counts, Dropped, Entry, StoredJob
from siwatsystem.actions.lanes import Lanes
from siwatsystem.actions.selection import Answer, Request
from siwatsystem.actions.targets import Target

log = logging.getLogger(__name__)

_ANSWERED_SEC = 150.0
"""For how long a request is of interest: longer than who asked waits for the answer (`asking.ask`)."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What the rest of an event waits for: the job at its lane's head, and the target of that."""

    seq: int
    target: str


class Store:
    """The file; thread-safe. Raises sqlite3.Error as SQLite does (full disk, broken file), InvalidSetting
    for a file of a later version."""

    def __init__(self, path: Path, max_bytes: int, *, repair: bool = True) -> None:
        """With `repair` a damaged file is moved aside; without, it raises."""
        self._path = path
        self._max_bytes = max_bytes
        self.lock = threading.RLock()
        """Held for every use of the file; whoever holds it knows that nobody else changes anything."""
        self.counts = Counts({}, 0, 0, 0)
        """Read it without a lock: it is replaced, never changed, so who asks never waits for the disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds passwords; SQLite gives its side files the same mode.
        path.touch(mode=0o600)
        path.chmod(0o600)
        self._db = schema.connect(path)
        self.complaint: str | None = None
        """What was wrong with the file that lay here, if it had to be moved aside."""
        try:
            self._open()
        except Exception as error:
            # A full disk, a locked file or a later version is no reason to give up what is in it.
            if not (repair and isinstance(error, sqlite3.Error) and schema.damaged(error)):
                self._db.close()
                raise
            self.complaint = self.recover(error)

    @property
    def max_bytes(self) -> int:
        """The size over which what is oldest and least is dropped."""
        return self._max_bytes

    def targets(self) -> dict[str, Target]:
        """Targets of stored jobs, by key."""
        with self.lock:
            rows = self._db.execute("SELECT key, kind, settings FROM targets").fetchall()
        return {key: Target(kind, tuple(map(tuple, json.loads(text)))) for key, kind, text in rows}

    def note_outage(self, target: str, words: str | None) -> None:
        """Keep for who looks into the file what a server says while it is away."""
        with self.lock:
            self._db.execute("UPDATE targets SET error = ? WHERE key = ?", (words, target))

    def forget_servers(self) -> None:
        """A new process begins: how servers behaved before is of no interest."""
        with self.lock, self._transaction():
            self._db.execute("UPDATE targets SET error = NULL")
            self._db.execute("UPDATE jobs SET slow = 0 WHERE slow = 1")

    def append(
        self, events: Sequence[tuple[OutboxEvent, Sequence[Entry]]], targets: Mapping[str, Target]
    ) -> tuple[list[Dropped], set[str]]:
        """Store the events, all or none; what had to go for it, and the targets whose turn came by that."""
        with self.lock:
            self._db.execute("PRAGMA synchronous = FULL")
            try:
                with self._transaction():
                    return self._lanes.append(events, targets)
            finally:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def heads(self, target: str, now: float, limit: int, *, slow: bool = False) -> list[int]:
        """The numbers of jobs that may be done at that target now, oldest first, one per lane: those that
        took too long before (`slow`), or those that did not."""
        with self.lock:
            rows = self._db.execute(
                "SELECT seq FROM jobs WHERE head = 1 AND target = ? AND due <= ? AND slow = ?"
                " ORDER BY seq LIMIT ?",
                (target, now, slow, limit),
            ).fetchall()
        return [row[0] for row in rows]

    def next_due(self, target: str, *, slow: bool = False) -> float | None:
        """When (Unix time) the next job of that target may be done; None if it has none."""
        with self.lock:
            row = self._db.execute(
                "SELECT min(due) FROM jobs WHERE head = 1 AND target = ? AND slow = ?", (target, slow)
            ).fetchone()
        return row[0]

    def oldest(self, target: str) -> float | None:
        """When (Unix time) the oldest job whose turn it is at that target was stored; None if none is."""
        with self.lock:
            row = self._db.execute(
                "SELECT created FROM jobs WHERE head = 1 AND target = ? ORDER BY seq LIMIT 1", (target,)
            ).fetchone()
        return None if row is None else row[0]

    def load(self, seq: int) -> StoredJob | None:
        """The job with its blob, or None if it is gone."""
        with self.lock:
            row = self._db.execute(
                "SELECT seq, event, subscription, target, kind, key, payload, expires_at, attempts, refusals,"
                " data FROM jobs LEFT JOIN blobs USING (seq) WHERE seq = ?",
                (seq,),
            ).fetchone()
        if row is None:
            return None
        return StoredJob(
            *row[:6],
            payload=json.loads(row[6]),
            expires_at=row[7],
            attempts=row[8],
            refusals=row[9],
            blob=row[10],
        )

    def done(self, seq: int) -> str | None:
        """Take the job away; the target whose turn it is in its lane."""
        with self.lock, self._transaction():
            return self._lanes.remove(seq)

    def postpone(self, seq: int, due: float, error: str, *, refused: bool, slow: bool = False) -> None:
        """Count an attempt; the job (and its lane) waits until `due`, a Unix time. Once `slow`, it remains
        so."""
        with self.lock, self._transaction():
            self._db.execute(
                "UPDATE jobs SET attempts = attempts + 1, refusals = refusals + ?, slow = max(slow, ?),"
                " due = ?, error = ? WHERE seq = ?",
                (refused, slow, due, error, seq),
            )

    def set_slow(self, seq: int) -> None:
        """Let a job be done among those that took too long before."""
        with self.lock, self._transaction():
            self._db.execute("UPDATE jobs SET slow = 1 WHERE seq = ?", (seq,))

    def park(self, seq: int, error: str) -> str | None:
        """Give the job up: it is kept among the failed, and its lane goes on; the target whose turn it is."""
        with self.lock, self._transaction():
            return self._lanes.park(seq, error)

    def waits_for(self, event: str) -> Waited | None:
        """What the rest of an event waits for; None if nothing of it is left."""
        with self.lock:
            row = self._db.execute(
                "SELECT head.seq, head.target FROM jobs JOIN jobs AS head ON head.lane = jobs.lane"
                " WHERE jobs.event = ? AND head.head = 1 ORDER BY head.seq LIMIT 1",
                (event,),
            ).fetchone()
        return Waited(*row) if row else None

    def has_failed(self, target: str) -> bool:
        """Whether a job that went to that target was given up and is kept."""
        with self.lock:
            rows = self._db.execute("SELECT 1 FROM failed WHERE target = ? LIMIT 1", (target,)).fetchall()
        return bool(rows)

    def among(self, seqs: set[int]) -> set[int]:
        """Those of these jobs that still wait."""
        with self.lock:
            rows = self._db.execute(
                "SELECT seq FROM jobs WHERE seq IN (SELECT value FROM json_each(?))",
                (json.dumps(sorted(seqs)),),
            ).fetchall()
        return {row[0] for row in rows}

    def requests(self) -> list[tuple[int, str]]:
        """What was asked and not answered yet: number and words; forgets what is out of date."""
        with self.lock:
            if not self._db.execute("SELECT 1 FROM requests LIMIT 1").fetchone():
                return []
            self._db.execute("DELETE FROM requests WHERE abs(asked - ?) > ?", (time.time(), _ANSWERED_SEC))
            return self._db.execute("SELECT id, request FROM requests WHERE answer IS NULL").fetchall()

    def answer(self, number: int, words: str) -> tuple[Answer, set[str]]:
        """Do what was asked and say so, both or neither; the targets that have something to do by it."""
        with self.lock, self._transaction():
            still = "SELECT 1 FROM requests WHERE id = ? AND answer IS NULL"
            if not self._db.execute(still, (number,)).fetchone():
                return Answer(), set()
            try:
                answer, targets = self._lanes.do(Request.load(words))
            except ValueError as error:
                answer, targets = Answer(error=str(error)), set[str]()
            self._db.execute("UPDATE requests SET answer = ? WHERE id = ?", (answer.dump(), number))
            return answer, targets

    def do(self, request: Request) -> tuple[Answer, set[str]]:
        """Do what is asked; the targets that have something to do by it."""
        with self.lock, self._transaction():
            return self._lanes.do(request)

    def tidy(self) -> None:
        """Give disk space back and forget targets that nothing goes to any more, once all is done."""
        with self.lock:
            if self._lanes.tally.waiting_bytes:
                return
            self._db.execute("DELETE FROM targets WHERE key NOT IN (SELECT target FROM failed)")
            # Not `execute`, which would give back one page only.
            self._db.executescript("PRAGMA incremental_vacuum")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def reclaim(self) -> None:
        """Fold the log, which grows to some megabytes, into the file: on a full disk that makes room."""
        with self.lock, suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def probe(self) -> None:
        """Write something. Raises sqlite3.Error where that is not possible."""
        with self.lock, self._transaction():
            self._db.execute(f"PRAGMA user_version = {schema.VERSION}")

    def recover(self, error: Exception) -> str:
        """Move a damaged file aside and begin anew; what happened, in words."""
        with self.lock:
            self._db.close()
            aside = schema.move_aside(self._path)
            log.error("the outbox %s is damaged (%s); it was moved to %s", self._path, error, aside)
            self._path.touch(mode=0o600)
            self._db = schema.connect(self._path)
            self._open()
            # Numbers are never used twice: a delivery may still hold one of the old file.
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('jobs', ?)", (time.time_ns() // 1000,))
            return f"the outbox was damaged ({error}) and begins anew; the old one is {aside.name}"

    def close(self, timeout: float = -1) -> bool:
        """Close the file; SQLite folds its log into it. False if a thread was at it for all of `timeout`
        seconds."""
        if not self.lock.acquire(timeout=timeout):
            return False
        try:
            self._db.close()
        finally:
            self.lock.release()
        return True

    def _open(self) -> None:
        self.counts = Counts({}, 0, 0, 0)
        schema.prepare(self._db, self._path)
        self._lanes = Lanes(self._db, self._max_bytes)
        self.counts = self._lanes.tally.counts()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        before = self._lanes.tally.copy()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._lanes.tally = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.counts = self._lanes.tally.counts()
