"""To have something done with the outbox from outside: by the worker that has it in use, else at once."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from siwatsystem.actions import schema
from siwatsystem.actions.guard import InUse, hold
from siwatsystem.actions.selection import Answer, Request
from siwatsystem.actions.store import Store
from siwatsystem.errors import InvalidSetting

_LOOK_SEC = 0.1


class NotAnswered(InvalidSetting):
    """The process that uses the outbox did not do what it was asked."""


def ask(path: Path, request: Request, timeout: float = 120.0) -> tuple[Answer, bool]:
    """Have it done; the answer, and whether a worker that has the file in use did it.

    Raises InvalidSetting for a file that cannot be used, NotAnswered if that worker does not do it within
    `timeout` seconds (it is not done later either).
    """
    try:
        guard = hold(path)
    except InUse:
        guard = None
    try:
        if guard is None:
            return _ask(path, request, timeout), True
        with closing(guard):
            store = Store(path, 1 << 62, repair=False)
            try:
                return store.do(request)[0], False
            finally:
                store.close()
    except sqlite3.Error as error:
        raise InvalidSetting(f"{path}: {error}") from None


def _ask(path: Path, request: Request, timeout: float) -> Answer:
    with closing(schema.connect(path)) as database:
        version = schema.version_of(database, path)
        if version < schema.VERSION:
            raise NotAnswered(f"{path} is in use by a worker of an older version; ask its own command")
        number = database.execute(
            "INSERT INTO requests (asked, request) VALUES (?, ?)", (time.time(), request.dump())
        ).lastrowid
        try:
            _wait(database, number, timeout)
        finally:
            # Either it is taken back here (by Ctrl-C too) or it was answered: never done later, unknown to
            # who asked.
            left = database.execute(
                "DELETE FROM requests WHERE id = ? RETURNING answer", (number,)
            ).fetchall()
        if left and left[0][0] is not None:
            return Answer.load(left[0][0])
        raise NotAnswered(f"the worker that uses {path} did not answer in {timeout:.0f} s; nothing was done")


def _wait(database: sqlite3.Connection, number: int | None, timeout: float) -> None:
    """Until the request was answered or forgotten, or the time is over."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        row = database.execute("SELECT answer FROM requests WHERE id = ?", (number,)).fetchone()
        if row is None or row[0] is not None:
            return
        time.sleep(_LOOK_SEC)
