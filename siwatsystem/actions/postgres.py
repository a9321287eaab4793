"""Records into one PostgreSQL. Doing one twice changes nothing, which is what makes it happen once."""

from collections.abc import Mapping
from typing import Any

from siwatsystem.actions.store import StoredJob
from siwatsystem.config import OutboxSettings
from siwatsystem.database import DatabaseManager


class PostgresqlSink:
    """Carries out `postgresql_update_combined` and `postgresql_initial_record`; used by one thread."""

    def __init__(self, config: Mapping[str, Any], settings: OutboxSettings) -> None:
        self._database = DatabaseManager(
            config,
            connect_timeout=settings.command_timeout_sec,
            statement_timeout=settings.statement_timeout_sec,
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
