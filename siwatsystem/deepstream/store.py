"""The state on disk: one SQLite file, one transaction per event.

WAL with `synchronous=NORMAL`: a server that is killed loses nothing that it has told; a machine that loses
its power may lose the last moments, never the file.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from siwatsystem.deepstream import records
from siwatsystem.deepstream.effects import Drop, Save
from siwatsystem.errors import InvalidSetting

log = logging.getLogger(__name__)

VERSION = 1
"""Of the tables; the records have their own (`records.VERSION`)."""
KINDS = ("app", "request", "file", "answer")
BUSY_MS = 2000
KEPT_DAMAGED = 3


class Store:
    """Opened once; used by one thread at a time. What cannot be written waits and is written with the next.

    `moved`: where a damaged file was moved to, if there was one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.moved: Path | None = None
        self.problem: str | None = None
        self._waiting: dict[tuple[str, str], bytes | None] = {}
        """Records as JSON text, by kind and key; None: to be deleted."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise InvalidSetting(f"{path}: {error}") from None
            self._move_aside(str(error))
            self._db = _open(path)

    def load(self) -> dict[str, Any]:
        """Every record, for `Control.rebuilt`; none where the file cannot be read: it is moved aside."""
        try:
            return self._read()
        except (sqlite3.DatabaseError, orjson.JSONDecodeError) as error:
            if isinstance(error, sqlite3.DatabaseError) and not _damaged(error):
                raise InvalidSetting(f"{self._path}: {error}") from None
            return self.begin_anew(str(error))

    def begin_anew(self, reason: str) -> dict[str, Any]:
        """Move the file aside, for records that are none, and go on with an empty one."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._move_aside(reason)
        self._db = _open(self._path)
        return self._read()

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = {"version": records.VERSION, **{kind: {} for kind in KINDS}}
        for kind, key, record in self._db.execute("SELECT kind, key, record FROM records ORDER BY rowid"):
            state[kind][key] = orjson.loads(record)
        return state

    def save(self, changes: Iterable[Save | Drop]) -> None:
        """All or none of it, now; where the disk refuses, with the next call. Never raises for that."""
        for change in changes:
            self._take(change)
        if not self._waiting:
            return
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                for (kind, key), record in self._waiting.items():
                    self._write(kind, key, record)
        except sqlite3.Error as error:
            if self.problem is None:
                log.error("the state cannot be written to %s: %s", self._path, error)
            self.problem = f"the state cannot be written: {error}"
            return
        self._waiting.clear()
        if self.problem is not None:
            log.warning("the state is written to %s again", self._path)
            self.problem = None

    def _take(self, change: Save | Drop) -> None:
        """One that is no record is left out: it must not keep all others from the disk."""
        try:
            record = None if isinstance(change, Drop) else orjson.dumps(change.record)
        except TypeError as error:
            log.error("%s %r cannot be kept: %s", change.kind, change.key, error)
            return
        self._waiting[change.kind, change.key] = record

    def _write(self, kind: str, key: str, record: bytes | None) -> None:
        if record is None:
            self._db.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
            return
        self._db.execute(
            "INSERT INTO records (kind, key, record) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET record = excluded.record",
            (kind, key, record),
        )

    def close(self) -> None:
        """With what still waits, if the disk takes it."""
        self.save(())
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _move_aside(self, reason: str) -> None:
        stem = f"{self._path.name}.damaged"
        self.moved = self._path.with_name(f"{stem}-{int(time.time() * 1000)}")
        self._path.replace(self.moved)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        for old in sorted(self._path.parent.glob(f"{stem}-*"))[:-KEPT_DAMAGED]:
            old.unlink(missing_ok=True)
        log.error("the state in %s is damaged (%s): moved to %s", self._path, reason, self.moved.name)


def _open(path: Path) -> sqlite3.Connection:
    """Raises InvalidSetting for a file of a newer version, sqlite3.DatabaseError for one that is damaged."""
    with contextlib.suppress(OSError):  # what SQLite cannot open either it says better
        path.touch(mode=0o600)  # it holds cameras' passwords
        path.chmod(0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise InvalidSetting(
                f"{path} was written by a newer release (version {version}, known: {VERSION})"
            )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        if version == 0:
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS records (kind TEXT NOT NULL, key TEXT NOT NULL, "
                    "record BLOB NOT NULL, UNIQUE (kind, key))"
                )
                db.execute(f"PRAGMA user_version = {VERSION}")
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
    except BaseException:
        db.close()
        raise
    return db


def _damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether it is the file, not the disk or its rights."""
    return not isinstance(error, sqlite3.OperationalError) or "no such" in str(error)
