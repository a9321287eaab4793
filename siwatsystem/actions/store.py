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
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siwatsystem.actions.base import Job, JobKind, OutboxEvent
from siwatsystem.actions.targets import Target

log = logging.getLogger(__name__)

_OVERHEAD = 256
"""Bytes that a job takes beside its payload and blob."""
_KEPT_FAILURES = 1000
_CHECKED_BYTES = 200_000_000
"""A file up to this size is read through at start; beyond it that would take seconds."""
_MIGRATIONS = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, lane TEXT NOT NULL, subscription TEXT,
        target TEXT NOT NULL, kind TEXT NOT NULL, rank INTEGER NOT NULL, key TEXT NOT NULL,
        payload TEXT NOT NULL, size INTEGER NOT NULL, expires_at REAL,
        head INTEGER NOT NULL, due REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX jobs_lane ON jobs (lane, seq);
    CREATE INDEX jobs_event ON jobs (event);
    CREATE INDEX jobs_rank ON jobs (rank, seq);
    CREATE INDEX jobs_front ON jobs (lane) WHERE head = 1;
    CREATE INDEX jobs_head ON jobs (target, seq) WHERE head = 1;
    CREATE TABLE blobs (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE failed (
        seq INTEGER PRIMARY KEY, event TEXT, subscription TEXT, target TEXT, kind TEXT, payload TEXT,
        error TEXT, failed_at REAL);
    CREATE TABLE targets (key TEXT PRIMARY KEY, kind TEXT NOT NULL, settings TEXT NOT NULL);
    """,
)


class Damaged(sqlite3.DatabaseError):
    """The file can be read but not used."""


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as the outbox keeps it; `blob` is filled by `Store.load`."""

    seq: int
    event: str
    subscription: str | None
    target: str
    kind: JobKind
    payload: Mapping[str, Any]
    expires_at: float | None
    attempts: int
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
    """A job that made room."""

    kind: JobKind
    event: str
    subscription: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What the file held after the last change to it: jobs by target, bytes of all jobs, jobs given up."""

    depth: Mapping[str, int]
    size: int
    failed: int


class Store:
    """The file; thread-safe. Raises sqlite3.Error as SQLite does (full disk, broken file)."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._depth: Counter[str] = Counter()
        self._size = 0
        self._failed = 0
        self.counts = Counts({}, 0, 0)
        """Read it without a lock: it is replaced, never changed, so who asks never waits for the disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds passwords; SQLite gives its side files the same mode.
        path.touch(mode=0o600)
        path.chmod(0o600)
        self._db = self._connect()
        self.complaint: str | None = None
        """What was wrong with the file that lay here, if it had to be moved aside."""
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            # A full disk or a locked file is no reason to give up what is in it.
            if not damaged(error):
                self._db.close()
                raise
            self.complaint = self.recover(error)

    @property
    def max_bytes(self) -> int:
        """The size over which what is oldest and least is dropped."""
        return self._max_bytes

    def targets(self) -> dict[str, Target]:
        """Targets of stored jobs, by key."""
        with self._lock:
            rows = self._db.execute("SELECT key, kind, settings FROM targets").fetchall()
        return {key: Target(kind, tuple(map(tuple, json.loads(text)))) for key, kind, text in rows}

    def append(
        self, events: Sequence[tuple[OutboxEvent, Sequence[Entry]]], targets: Mapping[str, Target]
    ) -> tuple[list[Dropped], set[str]]:
        """Store the events, all or none; what had to go for it, and the targets whose turn came by that."""
        with self._lock:
            self._db.execute("PRAGMA synchronous = FULL")
            try:
                with self._transaction():
                    return self._append(events, targets)
            finally:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def heads(self, target: str, now: float, limit: int) -> list[int]:
        """The numbers of jobs that may be done at that target now, oldest first, one per lane."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq FROM jobs WHERE head = 1 AND target = ? AND due <= ? ORDER BY seq LIMIT ?",
                (target, now, limit),
            ).fetchall()
        return [row[0] for row in rows]

    def next_due(self, target: str) -> float | None:
        """When (Unix time) the next job of that target may be done; None if it has none."""
        with self._lock:
            row = self._db.execute(
                "SELECT min(due) FROM jobs WHERE head = 1 AND target = ?", (target,)
            ).fetchone()
        return row[0]

    def load(self, seq: int) -> StoredJob | None:
        """The job with its blob, or None if it is gone."""
        with self._lock:
            row = self._db.execute(
                "SELECT seq, event, subscription, target, kind, payload, expires_at, attempts, data"
                " FROM jobs LEFT JOIN blobs USING (seq) WHERE seq = ?",
                (seq,),
            ).fetchone()
        if row is None:
            return None
        return StoredJob(
            *row[:5], payload=json.loads(row[5]), expires_at=row[6], attempts=row[7], blob=row[8]
        )

    def done(self, seqs: Iterable[int]) -> set[str]:
        """Take the jobs away, all or none; the targets whose turn it is in their lanes."""
        with self._lock, self._transaction():
            following = {self._remove(seq) for seq in seqs}
        return {target for target in following if target is not None}

    def postpone(self, seq: int, due: float) -> None:
        """Count a refusal; the job (and its lane) waits until `due`, a Unix time."""
        with self._lock, self._transaction():
            self._db.execute("UPDATE jobs SET attempts = attempts + 1, due = ? WHERE seq = ?", (due, seq))

    def park(self, seq: int, error: str) -> str | None:
        """Give the job up: it is kept among the failed (without its blob) and its lane goes on."""
        with self._lock, self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO failed SELECT seq, event, subscription, target, kind, payload, ?, ?"
                " FROM jobs WHERE seq = ?",
                (error, time.time(), seq),
            )
            self._db.execute("DELETE FROM failed WHERE seq <= ?", (seq - _KEPT_FAILURES,))
            self._failed = self._failures()
            return self._remove(seq)

    def waits_for(self, event: str) -> str | None:
        """The target that the rest of an event waits for; None if nothing of it is left."""
        with self._lock:
            row = self._db.execute(
                "SELECT head.target FROM jobs JOIN jobs AS head ON head.lane = jobs.lane"
                " WHERE jobs.event = ? AND head.head = 1 LIMIT 1",
                (event,),
            ).fetchone()
        return row[0] if row else None

    def tidy(self) -> None:
        """Give disk space back and forget targets that nothing goes to any more, once all is done."""
        with self._lock:
            if self._size:
                return
            self._db.execute("DELETE FROM targets")
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def reclaim(self) -> None:
        """Fold the log, which grows to some megabytes, into the file: on a full disk that makes room."""
        with self._lock, suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def probe(self) -> None:
        """Write something. Raises sqlite3.Error where that is not possible."""
        with self._lock, self._transaction():
            self._db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")

    def recover(self, error: sqlite3.Error) -> str:
        """Move a damaged file aside and begin anew; what happened, in words."""
        with self._lock:
            self._db.close()
            aside = _move_aside(self._path)
            log.error("the outbox %s is damaged (%s); it was moved to %s", self._path, error, aside)
            self._path.touch(mode=0o600)
            self._db = self._connect()
            self._open()
            # Numbers are never used twice: a delivery may still hold one of the old file.
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('jobs', ?)", (time.time_ns() // 1000,))
            return f"the outbox was damaged ({error}) and begins anew; the old one is {aside.name}"

    def close(self) -> None:
        """Close the file; SQLite folds its log into it."""
        with self._lock:
            self._db.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=5)

    def _open(self) -> None:
        self._depth, self._size, self._failed = Counter(), 0, 0
        self._publish()
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA journal_size_limit = 16777216")
        self._db.execute("PRAGMA synchronous = NORMAL")
        small = self._path.stat().st_size <= _CHECKED_BYTES
        if small and self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise Damaged("it does not hold together")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise Damaged(f"it is of a later version, {version}")
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            self._db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT")
        rows = self._db.execute("SELECT target, count(*), sum(size) FROM jobs GROUP BY target").fetchall()
        self._depth.update({target: count for target, count, _ in rows})
        self._size = sum(size for _, _, size in rows)
        self._failed = self._failures()
        self._publish()

    def _failures(self) -> int:
        return self._db.execute("SELECT count(*) FROM failed").fetchone()[0]

    def _publish(self) -> None:
        depth = {target: count for target, count in self._depth.items() if count}
        self.counts = Counts(depth, self._size, self._failed)

    @contextmanager
    def _transaction(self) -> Generator[None]:
        depth, size, failed = self._depth.copy(), self._size, self._failed
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._depth, self._size, self._failed = depth, size, failed
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._publish()

    def _append(
        self, events: Sequence[tuple[OutboxEvent, Sequence[Entry]]], targets: Mapping[str, Target]
    ) -> tuple[list[Dropped], set[str]]:
        for event, entries in events:
            lane = f"event:{event.event_id}" if event.lane is None else f"lane:{event.lane}"
            for entry in entries:
                self._insert(event, lane, entry)
        for target in {entry.job.target for _, entries in events for entry in entries}:
            known = targets[target]
            self._db.execute(
                "INSERT OR IGNORE INTO targets VALUES (?, ?, ?)",
                (target, known.kind, json.dumps(known.settings)),
            )
        return self._make_room()

    def _insert(self, event: OutboxEvent, lane: str, entry: Entry) -> None:
        job = entry.job
        facts = (event.event_id, lane, event.subscription)
        size = len(entry.payload) + len(entry.blob or b"") + _OVERHEAD
        cursor = self._db.execute(
            "INSERT INTO jobs (event, lane, subscription, target, kind, rank, key, payload, size, expires_at,"
            " head) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NOT EXISTS (SELECT 1 FROM jobs WHERE lane = ?)",
            (*facts, job.target, job.kind, entry.rank, job.key, entry.payload, size, job.expires_at, lane),
        )
        if entry.blob is not None:
            self._db.execute("INSERT INTO blobs VALUES (?, ?)", (cursor.lastrowid, entry.blob))
        self._depth[job.target] += 1
        self._size += size

    def _make_room(self) -> tuple[list[Dropped], set[str]]:
        """Drop images, then messages, then records, the oldest of each first, until the rest fits."""
        dropped: list[Dropped] = []
        following: set[str] = set()
        while self._size > self._max_bytes:
            row = self._db.execute(
                "SELECT seq, kind, event, subscription FROM jobs ORDER BY rank, seq LIMIT 1"
            ).fetchone()
            dropped.append(Dropped(*row[1:]))
            if (target := self._remove(row[0])) is not None:
                following.add(target)
        return dropped, following

    def _remove(self, seq: int) -> str | None:
        row = self._db.execute("SELECT lane, target, size, head FROM jobs WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return None
        lane, target, size, head = row
        self._db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
        self._db.execute("DELETE FROM blobs WHERE seq = ?", (seq,))
        self._depth[target] -= 1
        self._size -= size
        if not head:
            return None
        following = self._db.execute(
            "UPDATE jobs SET head = 1 WHERE seq = (SELECT min(seq) FROM jobs WHERE lane = ?)"
            " RETURNING target",
            (lane,),
        ).fetchall()
        return following[0][0] if following else None


def damaged(error: sqlite3.Error) -> bool:
    """Whether the error says that the file itself is broken."""
    if isinstance(error, Damaged):
        return True
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 1000000}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside
