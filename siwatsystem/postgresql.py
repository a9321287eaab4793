"""One PostgreSQL connection on which no call outlasts its deadline, with errors told apart.

The client library waits for ever on a server that has stopped answering, so the connection is
driven in its asynchronous mode and every wait is bounded here.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from siwatsystem.errors import ActionFailed, TargetContended, TargetUnavailable

Row = tuple[Any, ...]
Statement = str | sql.Composable

# Conditions that pass without a change to the statement: connection trouble, resources, shutdowns,
# a server that is read-only for now (a standby).
_PASSING_CLASSES = ("08", "53", "57", "58", "25006")
# And those that concern this statement alone: deadlocks and serialization failures, a lock that is held
# too long, a statement that took too long.
_CONTENDED_CLASSES = ("40", "55P03", "57014")


class Link:
    """A connection; not thread-safe. Raises TargetUnavailable when the server is away, TargetContended
    when something else held what a statement needed for too long, ActionFailed (with the server's words)
    when it refuses what was said."""

    def __init__(
        self,
        config: Mapping[str, Any],
        connect_timeout: float,
        statement_timeout: float,
        lock_timeout: float | None = None,
    ) -> None:
        self._statement_timeout = statement_timeout
        self._limits = f"SET LOCAL statement_timeout = {int(statement_timeout * 1000)}"
        if lock_timeout is not None and lock_timeout < statement_timeout:
            self._limits += f"; SET LOCAL lock_timeout = {int(lock_timeout * 1000)}"
        self._connection = self._open(config, connect_timeout)

    @property
    def usable(self) -> bool:
        """Whether the connection was whole at its last use."""
        return not self._connection.closed

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    def cut(self) -> None:
        """From any thread: end what the connection waits for."""
        with (
            contextlib.suppress(psycopg2.Error, OSError),
            socket.socket(fileno=os.dup(self._connection.fileno())) as own,
        ):
            own.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """A transaction whose statements the server itself ends in time."""
        self._run(f"BEGIN; {self._limits}")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def transact(self, *statements: tuple[Statement, Sequence[object]]) -> None:
        """The same for statements with their values whose rows nobody asks for, in one message."""
        parts = [text if isinstance(text, sql.Composable) else sql.SQL(text) for text, _ in statements]
        whole = sql.SQL("; ").join([sql.SQL("BEGIN"), sql.SQL(self._limits), *parts, sql.SQL("COMMIT")])
        try:
            self._run(whole, [value for _, values in statements for value in values])
        except BaseException:
            self._roll_back()
            raise

    def execute(self, statement: Statement, values: Sequence[object] = ()) -> list[Row]:
        """Run a statement; its rows, if it has any."""
        return self._run(statement, values)

    def _open(self, config: Mapping[str, Any], timeout: float) -> psycopg2.extensions.connection:
        deadline = time.monotonic() + timeout
        try:
            connection = psycopg2.connect(
                host=config["host"],
                hostaddr=config.get("hostaddr"),  # where it connects to; else what `host` stands for
                port=config["port"],
                dbname=config["database"],
                user=config.get("username") or config.get("user"),
                password=config.get("password") or None,
                application_name="siwatsystem",
                client_encoding="UTF8",
                connect_timeout=max(2, int(timeout)),
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=10_000,
                async_=True,
            )
        except psycopg2.Error as error:
            raise TargetUnavailable(_words(error)) from None
        try:
            _wait(connection, deadline)
        except (psycopg2.Error, TimeoutError) as error:
            connection.close()
            raise TargetUnavailable(_words(error)) from None
        return connection

    def _run(self, statement: Statement, values: Sequence[object] = ()) -> list[Row]:
        # The server's own time-out comes first; this one is for a server that does nothing at all.
        deadline = time.monotonic() + self._statement_timeout + 1
        try:
            cursor = self._connection.cursor()
            cursor.execute(statement, values or None)
            _wait(self._connection, deadline)
            return cursor.fetchall() if cursor.description else []
        except TimeoutError as error:
            self.close()
            raise TargetUnavailable(_words(error)) from None
        except (ValueError, TypeError) as error:
            raise ActionFailed(f"a value cannot be sent: {error}") from error
        except psycopg2.Error as error:
            if self._connection.closed or _lost(error):
                self.close()
                raise TargetUnavailable(_words(error)) from None
            code = error.pgcode or ""
            if code.startswith(_CONTENDED_CLASSES):
                raise TargetContended(_words(error)) from error
            if code.startswith(_PASSING_CLASSES):
                raise TargetUnavailable(_words(error)) from None
            raise ActionFailed(_words(error)) from error

    def _roll_back(self) -> None:
        if not self.usable:
            return
        try:
            self._run("ROLLBACK")
        except (TargetUnavailable, ActionFailed):
            self.close()


def _wait(connection: psycopg2.extensions.connection, deadline: float) -> None:
    """Until the connection has done what it was asked. Raises TimeoutError at the deadline."""
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        reading = state == psycopg2.extensions.POLL_READ
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if reading else select.POLLOUT)
        poller.poll(min(left, 1.0) * 1000)


def _lost(error: psycopg2.Error) -> bool:
    """Whether the connection went with the error: the library's own word, or a server shutting down."""
    if error.pgcode is None:
        return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    return error.pgcode.startswith(("08", "57P"))


def _words(error: BaseException) -> str:
    """The first line of what the server or library said; the database's words hold no password."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
