"""The outbox's file, looked at from outside: beside a running worker, changing nothing."""

import json
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siwatsystem.actions import schema
from siwatsystem.actions.selection import FITS, Selection, State
from siwatsystem.actions.targets import Target, TargetKind
from siwatsystem.errors import InvalidSetting

# What a server that is away says holds up the heads of lanes; what is behind them has no error of its own
# and may go to a server that is well.
_ROWS: Mapping[State, str] = {
    "waiting": "SELECT seq, event, lane, subscription, target, kind, size, created, attempts, expires_at,"  # noqa: S608
    " coalesce(error, CASE WHEN head THEN (SELECT error FROM targets WHERE key = target) END), due,"
    " CASE WHEN NOT head THEN"
    " (SELECT min(seq) FROM jobs AS front WHERE front.lane = jobs.lane AND front.head = 1) END"
    f" FROM jobs WHERE {FITS} ORDER BY seq LIMIT :limit",
    "failed": "SELECT seq, event, lane, subscription, target, kind, size, created, attempts, expires_at,"  # noqa: S608
    f" error, failed_at, NULL FROM failed WHERE {FITS} ORDER BY seq LIMIT :limit",
}
_SUMS: Mapping[State, str] = {
    "waiting": f"SELECT count(*), coalesce(sum(size), 0) FROM jobs WHERE {FITS}",  # noqa: S608
    "failed": f"SELECT count(*), coalesce(sum(size), 0) FROM failed WHERE {FITS}",  # noqa: S608
}


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the file. Times are Unix times."""

    seq: int
    state: State
    event: str
    session: str | None
    """None: its event has no session."""
    subscription: str | None
    server: str
    kind: str
    size: int
    created: float
    attempts: int
    expires_at: float | None
    error: str | None
    due: float | None
    """When it is tried again, for one that waits for that."""
    behind: int | None
    """The job whose turn it is in its session or event, which is done first; None: this one's own turn."""
    failed_at: float | None


@dataclass(frozen=True, slots=True)
class Sums:
    """How many jobs of a selection there are, and their bytes."""

    waiting: int
    failed: int
    size: int


class OutboxFile:
    """Raises sqlite3.Error for a file that cannot be read."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        rows: list[tuple[str, TargetKind, str]] = database.execute(
            "SELECT key, kind, settings FROM targets"
        ).fetchall()
        self.servers = {
            key: Target(kind, tuple(map(tuple, json.loads(text)))).place for key, kind, text in rows
        }
        """Where each server is, by its key: no secret in it."""

    def sums(self, selection: Selection) -> Sums:
        found = [
            self._db.execute(_SUMS[state], selection.values()).fetchone() if selection.has(state) else (0, 0)
            for state in ("waiting", "failed")
        ]
        return Sums(found[0][0], found[1][0], found[0][1] + found[1][1])

    def rows(self, selection: Selection, limit: int = -1) -> list[Row]:
        """The jobs that fit, the oldest first, those that wait before those that have failed; -1: all."""
        found: list[Row] = []
        for state in ("waiting", "failed"):
            if selection.has(state) and (limit < 0 or len(found) < limit):
                values = selection.values() | {"limit": limit if limit < 0 else limit - len(found)}
                found += [self._row(state, row) for row in self._db.execute(_ROWS[state], values)]
        return found

    def payload(self, seq: int) -> dict[str, Any] | None:
        """What a job says; None if there is no such job."""
        row = self._db.execute(
            "SELECT payload FROM jobs WHERE seq = :seq UNION ALL SELECT payload FROM failed WHERE seq = :seq",
            {"seq": seq},
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def blob(self, seq: int) -> bytes | None:
        """The picture of a job; None if it has none."""
        row = self._db.execute("SELECT data FROM blobs WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else row[0]

    def _row(self, state: State, row: tuple[Any, ...]) -> Row:
        *first, error, at, behind = row
        seq, event, lane, subscription, target, kind, size, created, attempts, expires_at = first
        waiting = state == "waiting"
        return Row(
            seq=seq,
            state=state,
            event=event,
            session=lane.removeprefix("lane:") if lane.startswith("lane:") else None,
            subscription=subscription,
            server=self.servers[target] if target in self.servers else str(target),
            kind=kind,
            size=size,
            created=created,
            attempts=attempts,
            expires_at=expires_at,
            error=error,
            due=(at or None) if waiting else None,
            behind=behind,
            failed_at=None if waiting else at,
        )


@contextmanager
def opened(path: Path) -> Generator[OutboxFile]:
    """The file, as it is at one moment. Raises InvalidSetting where it is not there, cannot be read, or is of
    another version."""
    if not path.is_file():
        raise InvalidSetting(f"{path}: there is no outbox")
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=5)) as database:
            version = schema.version_of(database, path)
            if version < schema.VERSION:
                raise InvalidSetting(
                    f"{path} is an outbox of version {version}; the worker brings it to version"
                    f" {schema.VERSION} when it starts"
                )
            database.execute("BEGIN")
            yield OutboxFile(database)
    except sqlite3.Error as error:
        raise InvalidSetting(f"{path}: cannot be read ({error})") from None
