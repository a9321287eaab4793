"""What becomes of the actions of an analysis: done, or only kept to be shown."""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.targets import Target
from siwatsystem.pipeline.opening import Outbox

_log = logging.getLogger(__name__)

_WAITED_FOR = 10_000
"""Events that `settle` waits for: those before are done, or counted as waiting on disk."""

ActionMode = Literal["print", "none", "do"]


class DeliveringOutbox(Outbox, Protocol):
    """The part of `actions.outbox.Outbox` that is needed to do actions and wait for them."""

    def flush(self, event_id: str, timeout: float) -> bool: ...
    def status(self) -> dict[str, Any]: ...


class Actions:
    """The outbox of a pipeline that is analysed. With an `open_outbox` what it is given is done.

    Several threads may analyse with it: each takes what came of its own frames.
    """

    def __init__(self, open_outbox: Callable[[], DeliveringOutbox] | None = None) -> None:
        self._open = open_outbox
        self._outbox: DeliveringOutbox | None = None
        self._failed_before = 0
        """Actions that had been given up before, and are kept in the outbox."""
        self._lock = threading.Lock()
        self._jobs: defaultdict[int, list[Job]] = defaultdict(list)
        self._sent: deque[str] = deque(maxlen=_WAITED_FOR)

    def register(self, target: Target) -> str:
        """Make a server known; the outbox is opened for the first one, an archive without needs none."""
        if self._open is None:
            return target.key
        if self._outbox is None:
            self._outbox = self._open()
            status = self._outbox.status()
            self._failed_before = status["failed"]
            if status["depth"]:
                _log.warning(
                    "actions that waited on disk before this run are done as well: %d", status["depth"]
                )
        return self._outbox.register(target)

    def release(self, key: str) -> None:
        """Nothing is submitted for that server any more."""
        if self._outbox is not None:
            self._outbox.release(key)

    def submit(self, event: OutboxEvent) -> None:
        with self._lock:
            self._jobs[threading.get_ident()] += event.jobs
            if self._outbox is not None:
                self._sent.append(event.event_id)
        if self._outbox is not None:
            self._outbox.submit(event)

    def taken(self) -> tuple[Job, ...]:
        """The jobs of this thread since its last call."""
        with self._lock:
            return tuple(self._jobs.pop(threading.get_ident(), ()))

    def settle(self, seconds: float) -> list[str]:
        """Wait for everything that was submitted, `seconds` in all. What did not arrive at its server,
        in words."""
        if self._outbox is None:
            return []
        with self._lock:
            sent = list(self._sent)
            self._sent.clear()
        deadline = time.monotonic() + seconds
        late = [one for one in sent if not self._outbox.flush(one, max(0.0, deadline - time.monotonic()))]
        status = self._outbox.status()
        left = [str(line) for line in status["degraded"]]
        if late or status["depth"]:
            left.append(f"{status['depth']} actions wait on disk and are done when a server takes them")
        if (given_up := status["failed"] - self._failed_before) > 0:
            were = "1 action was" if given_up == 1 else f"{given_up} actions were"
            left.append(f"{were} given up: siwat outbox list --failed")
        return left


def describe(job: Job) -> str:
    """One line: what a job does, with everything filled in."""
    payload = job.payload
    match job.kind:
        case "redis_save_image":
            return f"save image {payload['key']}{_expiry(job)}"
        case "redis_publish":
            return f"publish to {payload['channel']}: {payload['message']}"
        case "mqtt_publish":
            return f"publish over MQTT to {payload['topic']}: {payload['message']}"
        case "kafka_publish":
            return f"publish to the Kafka topic {payload['topic']}: {payload['message']}"
        case "webhook":
            return f"post to {payload['to']}: {payload['message']}"
        case "postgresql_initial_record":
            return f"record session {payload['session_id']}, captured {payload['captured_timestamp']}"
        case "postgresql_update_combined":
            values = ", ".join([*_pairs(payload["fields"]), *(f"{name}=NOW()" for name in payload["now"])])
            return f"write {payload['table']} where {payload['key_field']}={payload['key_value']}: {values}"


def _expiry(job: Job) -> str:
    if job.expires_at is None:
        return ""
    return f", until {datetime.fromtimestamp(job.expires_at, UTC).astimezone():%H:%M:%S}"


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in fields.items()]
