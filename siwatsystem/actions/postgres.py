"""Records into one PostgreSQL. Doing one twice changes nothing, which is what makes it happen once."""

from collections.abc import Mapping
from typing import Any

from siwatsystem.actions.jobs import StoredJob
from siwatsystem.config import OutboxSettings
from siwatsystem.database import DatabaseManager

_BRISK_SEC = 1.0
"""Longest run of a statement where other records wait for it."""
_LOCK_SEC = 0.2
"""Longest wait for a lock that somebody else holds; the record is tried again later."""


class PostgresqlSink:
    """Carries out `postgresql_update_combined` and `postgresql_initial_record`; used by one thread."""

    def __init__(self, config: Mapping[str, Any], settings: OutboxSettings, *, patient: bool = False) -> None:
        """Only a `patient` one gives a statement all its time; none waits long for a lock."""
        limit = settings.statement_timeout_sec
        self._database = DatabaseManager(
            config,
            connect_timeout=settings.command_timeout_sec,
            statement_timeout=limit if patient else min(limit, _BRISK_SEC),
            lock_timeout=_LOCK_SEC,
        )

    def deliver(self, job: StoredJob) -> None:
        """Write the record. Raises TargetUnavailable, ActionFailed."""
        fact = job.payload
        if job.kind == "postgresql_initial_record":
            self._database.initial_record(fact["display_id"], fact["captured_timestamp"], fact["session_id"])
        else:
            self._database.upsert(
                fact["table"], fact["key_field"], fact["key_value"], fact["fields"], fact["now"]
            )

    def close(self) -> None:
        """Close the connection."""
        self._database.disconnect()

    def cut(self) -> None:
        """Shut the connection down under a call that hangs."""
        self._database.cut()
