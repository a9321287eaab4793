"""The outbox's file: its tables, the versions of them, and how an older one is brought up to date.

Each version is one transaction, so a migration that is killed is made again from its beginning. A file of
a later version is left as it is: what is in it may mean something that this version does not know.
"""

import logging
import sqlite3
import time
from pathlib import Path

from siwatsystem.errors import InvalidSetting

log = logging.getLogger(__name__)

_CHECKED_BYTES = 200_000_000
"""A file up to this size is read through at start; beyond it that would take seconds."""

MIGRATIONS = (
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
    # What was given up is kept whole. When jobs of version 1 were made is not known: their age counts
    # from now. Pictures that were given up then are not there any more.
    """
    ALTER TABLE jobs ADD COLUMN created REAL NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN slow INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN error TEXT;
    UPDATE jobs SET created = CAST(strftime('%s', 'now') AS REAL), refusals = attempts;
    ALTER TABLE failed RENAME TO failed_before;
    CREATE TABLE failed (
        seq INTEGER PRIMARY KEY, event TEXT NOT NULL, lane TEXT NOT NULL, subscription TEXT,
        target TEXT NOT NULL, kind TEXT NOT NULL, rank INTEGER NOT NULL, key TEXT NOT NULL,
        payload TEXT NOT NULL, size INTEGER NOT NULL, expires_at REAL, attempts INTEGER NOT NULL,
        created REAL NOT NULL, error TEXT NOT NULL, failed_at REAL NOT NULL);
    INSERT INTO failed SELECT seq, coalesce(event, ''), 'event:' || coalesce(event, ''), subscription,
        target, kind, CASE kind WHEN 'redis_save_image' THEN 0 WHEN 'redis_publish' THEN 1 ELSE 2 END, '',
        payload, length(CAST(payload AS BLOB)) + 256, NULL, 0, failed_at, coalesce(error, ''), failed_at
        FROM failed_before;
    DROP TABLE failed_before;
    ALTER TABLE targets ADD COLUMN error TEXT;
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT, asked REAL NOT NULL, request TEXT NOT NULL, answer TEXT);
    """,
)
VERSION = len(MIGRATIONS)
"""Of the tables that this code reads and writes (`PRAGMA user_version`)."""


class Damaged(sqlite3.DatabaseError):
    """The file can be read but not used."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any thread, in autocommit; waits at most 5 s for another process."""
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)


def version_of(database: sqlite3.Connection, path: Path) -> int:
    """The file's version; 0: empty. Raises InvalidSetting for a later one than this code's."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise InvalidSetting(
            f"{path} is an outbox of version {version}, and this worker reads versions up to {VERSION}: start"
            " the worker that wrote it, or move the file away; nothing in it was changed"
        )
    return version


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Check the file and bring it to this version. Raises InvalidSetting (see `version_of`), Damaged."""
    version = version_of(database, path)
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA journal_size_limit = 16777216")
    database.execute("PRAGMA synchronous = NORMAL")
    small = path.stat().st_size <= _CHECKED_BYTES
    if small and database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise Damaged("it does not hold together")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        if version:
            log.info("the outbox %s is brought from version %d to %d", path, number - 1, number)
        database.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")


def damaged(error: sqlite3.Error) -> bool:
    """Whether the error says that the file itself is broken."""
    if isinstance(error, Damaged):
        return True
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def move_aside(path: Path) -> Path:
    """Give the file and its log another name; that name."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 1000000}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside
