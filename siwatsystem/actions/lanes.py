"""The rows of the outbox's file, inside a transaction: jobs in lanes, and those that were given up."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence

from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.jobs import Dropped, Entry, Tally
from siwatsystem.actions.selection import FITS, Answer, Request, Selection, State
from siwatsystem.actions.targets import Target

_OVERHEAD = 256
"""Bytes that a job takes beside its payload and blob."""
_KEPT = (
    "seq, event, lane, subscription, target, kind, rank, key, payload, size, expires_at, attempts, created"
)
"""What jobs that wait and jobs that have failed have in common."""
_PARK = (
    f"INSERT INTO failed ({_KEPT}, error, failed_at) SELECT {_KEPT}, ?, ? FROM jobs"  # noqa: S608
    " WHERE seq = ? RETURNING size"
)
_AGAIN = (
    f"INSERT INTO jobs ({_KEPT}, head) SELECT {_KEPT},"  # noqa: S608
    " NOT EXISTS (SELECT 1 FROM jobs WHERE lane = failed.lane) FROM failed WHERE seq = ?"
    " AND target IN (SELECT key FROM targets)"
    " AND (kind <> 'redis_save_image' OR seq IN (SELECT seq FROM blobs)) RETURNING target, size"
)
_FIRST_FAILED = "SELECT seq, kind, event, subscription, target FROM failed ORDER BY seq LIMIT 1"
_FIRST_TO_GO = "SELECT seq, kind, event, subscription, target FROM jobs ORDER BY rank, seq LIMIT 1"
_CHOSEN: Mapping[State, str] = {
    "waiting": f"SELECT seq FROM jobs WHERE {FITS} ORDER BY seq",  # noqa: S608
    "failed": f"SELECT seq FROM failed WHERE {FITS} ORDER BY seq",  # noqa: S608
}
_DROP: Mapping[State, tuple[str, str]] = {
    "waiting": (
        f"DELETE FROM blobs WHERE seq IN (SELECT seq FROM jobs WHERE {FITS})",  # noqa: S608
        f"DELETE FROM jobs WHERE {FITS}",  # noqa: S608
    ),
    "failed": (
        f"DELETE FROM blobs WHERE seq IN (SELECT seq FROM failed WHERE {FITS})",  # noqa: S608
        f"DELETE FROM failed WHERE {FITS}",  # noqa: S608
    ),
}
"""The last one's count is that of the jobs."""
_NEW_HEADS = (
    "UPDATE jobs SET head = 1 WHERE seq IN"
    " (SELECT min(seq) FROM jobs GROUP BY lane HAVING max(head) = 0) RETURNING target"
)


class Lanes:
    """Changes rows and counts them; not thread-safe, and whole only where its caller commits."""

    def __init__(self, database: sqlite3.Connection, max_bytes: int) -> None:
        """Raises sqlite3.Error."""
        self._db = database
        self._max_bytes = max_bytes
        self.tally = self._counted()

    def append(
        self, events: Sequence[tuple[OutboxEvent, Sequence[Entry]]], targets: Mapping[str, Target]
    ) -> tuple[list[Dropped], set[str]]:
        """Store the events; what had to go for it, and the targets whose turn came by that."""
        now = time.time()
        for event, entries in events:
            lane = f"event:{event.event_id}" if event.lane is None else f"lane:{event.lane}"
            for entry in entries:
                self._insert(event, lane, entry, now)
        for target in {entry.job.target for _, entries in events for entry in entries}:
            known = targets[target]
            self._db.execute(
                "INSERT OR IGNORE INTO targets (key, kind, settings) VALUES (?, ?, ?)",
                (target, known.kind, json.dumps(known.settings)),
            )
        return self._make_room()

    def park(self, seq: int, error: str) -> str | None:
        """Give the job up: it is kept among the failed; the target whose turn it is in its lane."""
        row = self._db.execute(_PARK, (error, time.time(), seq)).fetchall()
        self._db.execute("UPDATE failed SET attempts = attempts + 1 WHERE seq = ?", (seq,))
        for (size,) in row:
            self.tally.failed += 1
            self.tally.failed_bytes += size
        return self.remove(seq, keep_blob=True)

    def _insert(self, event: OutboxEvent, lane: str, entry: Entry, now: float) -> None:
        job = entry.job
        facts = (event.event_id, lane, event.subscription, job.target, job.kind, entry.rank, job.key)
        size = len(entry.payload.encode()) + len(entry.blob or b"") + _OVERHEAD
        cursor = self._db.execute(
            "INSERT INTO jobs (event, lane, subscription, target, kind, rank, key, payload, size, expires_at,"
            " created, head) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " NOT EXISTS (SELECT 1 FROM jobs WHERE lane = ?)",
            (*facts, entry.payload, size, job.expires_at, now, lane),
        )
        if entry.blob is not None:
            self._db.execute("INSERT INTO blobs VALUES (?, ?)", (cursor.lastrowid, entry.blob))
        self.tally.depth[job.target] += 1
        self.tally.waiting_bytes += size

    def _make_room(self) -> tuple[list[Dropped], set[str]]:
        """Drop what had failed, then images, then messages, then records, the oldest of each first, until
        the rest fits."""
        dropped: list[Dropped] = []
        following: set[str] = set()
        while self.tally.size > self._max_bytes:
            failed = self.tally.failed > 0
            row = self._db.execute(_FIRST_FAILED if failed else _FIRST_TO_GO).fetchone()
            dropped.append(Dropped(*row[1:], failed=failed))
            if failed:
                self._forget(row[0])
            elif (target := self.remove(row[0])) is not None:
                following.add(target)
        return dropped, following

    def remove(self, seq: int, *, keep_blob: bool = False) -> str | None:
        """Take a job that waits away; the target whose turn it is in its lane."""
        row = self._db.execute("SELECT lane, target, size, head FROM jobs WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return None
        lane, target, size, head = row
        self._db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
        if not keep_blob:
            self._db.execute("DELETE FROM blobs WHERE seq = ?", (seq,))
        self.tally.depth[target] -= 1
        self.tally.waiting_bytes -= size
        if not head:
            return None
        following = self._db.execute(
            "UPDATE jobs SET head = 1 WHERE seq = (SELECT min(seq) FROM jobs WHERE lane = ?)"
            " RETURNING target",
            (lane,),
        ).fetchall()
        return following[0][0] if following else None

    def _forget(self, seq: int, *, keep_blob: bool = False) -> None:
        """Take away a job that had failed."""
        rows = self._db.execute("DELETE FROM failed WHERE seq = ? RETURNING size", (seq,)).fetchall()
        if not keep_blob:
            self._db.execute("DELETE FROM blobs WHERE seq = ?", (seq,))
        for (size,) in rows:
            self.tally.failed -= 1
            self.tally.failed_bytes -= size

    def do(self, request: Request) -> tuple[Answer, set[str]]:
        """Do what is asked; the targets that have something to do by it."""
        return (self._retry if request.do == "retry" else self._drop)(request.selection)

    def _drop(self, selection: Selection) -> tuple[Answer, set[str]]:
        counts = {"waiting": 0, "failed": 0}
        for state in selection.states:
            for statement in _DROP[state]:
                counts[state] = self._db.execute(statement, selection.values()).rowcount
        following = self._db.execute(_NEW_HEADS).fetchall()
        self.tally = self._counted()
        return Answer(counts["waiting"], counts["failed"]), {row[0] for row in following}

    def _retry(self, selection: Selection) -> tuple[Answer, set[str]]:
        waiting, failed = self._chosen("waiting", selection), self._chosen("failed", selection)
        for seq in waiting:
            self._db.execute("UPDATE jobs SET due = 0, refusals = 0 WHERE seq = ?", (seq,))
        again = [seq for seq in failed if self._again(seq)]
        chosen = json.dumps([*waiting, *again])
        targets = self._db.execute(
            "SELECT DISTINCT target FROM jobs WHERE seq IN (SELECT value FROM json_each(?))", (chosen,)
        ).fetchall()
        answer = Answer(len(waiting), len(again), len(failed) - len(again))
        return answer, {row[0] for row in targets}

    def _again(self, seq: int) -> bool:
        """Let a job that had failed wait once more, at its old place in its lane but behind the job whose
        turn it is: that one may be under way. False where its picture or its server is not known."""
        rows = self._db.execute(_AGAIN, (seq,)).fetchall()
        for target, size in rows:
            self.tally.depth[target] += 1
            self.tally.waiting_bytes += size
            self._forget(seq, keep_blob=True)
        return bool(rows)

    def _counted(self) -> Tally:
        waiting = self._db.execute("SELECT target, count(*), sum(size) FROM jobs GROUP BY target").fetchall()
        failed = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM failed").fetchone()
        tally = Tally(failed=failed[0], failed_bytes=failed[1])
        tally.depth.update({target: count for target, count, _ in waiting})
        tally.waiting_bytes = sum(size for _, _, size in waiting)
        return tally

    def _chosen(self, table: State, selection: Selection) -> list[int]:
        if not selection.has(table):
            return []
        return [row[0] for row in self._db.execute(_CHOSEN[table], selection.values())]
