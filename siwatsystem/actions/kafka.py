"""Messages into one Kafka cluster, each taken by all replicas in sync (`acks=all`) before it counts as sent.

The client runs in a loop of the delivery's own thread, and only while a message is on its way.
"""

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)

from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.targets import FORBIDDEN
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionFailed, ActionRefused, TargetUnavailable
from siwatsystem.networks import is_forbidden, literal_ip

_CLOSE_SEC = 0.5
_FINAL = (InvalidTopicError, MessageSizeTooLargeError)


class KafkaSink:
    """Carries out `kafka_publish`; used by one thread."""

    def __init__(self, config: Mapping[str, Any], settings: OutboxSettings) -> None:
        _NOTES.begin()
        self._config = config
        self._limit = settings.broker_timeout_sec
        self._loop = CheckedLoop()
        self._producer: Any = None
        self._task: asyncio.Task[None] | None = None

    def deliver(self, job: StoredJob) -> None:
        """Send the message and wait for the cluster to have it. Raises TargetUnavailable, ActionFailed."""
        self._loop.refused = None
        _NOTES.forget()
        try:
            if self._producer is None:
                self._run(self._start())
            self._run(self._send(job.payload))
        except _FINAL as error:
            raise ActionRefused(_words(error), type(error).__name__) from None
        except (TimeoutError, KafkaTimeoutError, RequestTimedOutError):
            raise TargetUnavailable(self._loop.refused or f"no answer within {self._limit:g} s") from None
        except asyncio.CancelledError:
            raise TargetUnavailable("it was cut off") from None
        except (KafkaError, OSError) as error:
            if isinstance(error, BrokerResponseError) and not error.retriable:
                raise ActionFailed(_words(error)) from error
            raise TargetUnavailable(self._why(_words(error))) from None

    def close(self) -> None:
        """Close the connections."""
        producer, self._producer = self._producer, None
        with contextlib.suppress(TimeoutError, asyncio.CancelledError, KafkaError, OSError):
            if producer is not None:
                self._run(producer.stop(), _CLOSE_SEC)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError, KafkaError, OSError):
            if producer is not None:
                self._run(producer.client.close(), _CLOSE_SEC)
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=_CLOSE_SEC))
        self._loop.close()
        _NOTES.leave()

    def cut(self) -> None:
        """End a call that hangs."""
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # Its loop was closed meanwhile.
                self._loop.call_soon_threadsafe(task.cancel)

    async def _start(self) -> None:
        config = self._config
        security = "SSL" if config["tls"] else "PLAINTEXT"
        if config["username"] is not None:
            security = f"SASL_{security}"
        self._producer = AIOKafkaProducer(
            bootstrap_servers=config["bootstrap_servers"],
            client_id="siwatsystem",
            acks="all",
            enable_idempotence=True,
            # Shorter than the wait for it all, so that what the cluster lacks is told from its silence.
            request_timeout_ms=max(int(self._limit * 800), 100),
            retry_backoff_ms=50,
            security_protocol=security,
            ssl_context=ssl.create_default_context() if config["tls"] else None,
            sasl_mechanism=config["sasl"],
            sasl_plain_username=config["username"],
            sasl_plain_password=config["password"] or "",
        )
        await self._producer.start()

    async def _send(self, payload: Mapping[str, Any]) -> None:
        topic, key = payload["topic"], payload["key"]
        try:
            await self._producer.send_and_wait(
                topic, payload["message"].encode(), key=None if key is None else key.encode()
            )
        except UnknownTopicOrPartitionError:
            # The library says so of a cluster, too, that did not answer when it was asked for a new topic.
            cluster = await self._producer.client.fetch_all_metadata()
            if topic in cluster.topics():
                raise
            raise ActionFailed(f"there is no topic {topic} that could be written to") from None

    def _run(self, work: Coroutine[Any, Any, None], limit: float | None = None) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(work, self._limit if limit is None else limit)

        self._task = self._loop.create_task(bounded())
        try:
            self._loop.run_until_complete(self._task)
        finally:
            self._task = None

    def _why(self, words: str) -> str:
        """The library's errors say less than its log: not why a connection failed."""
        return self._loop.refused or _NOTES.last() or words


class CheckedLoop(asyncio.SelectorEventLoop):
    """Connects to no address that nothing may be sent to, whichever the cluster names."""

    refused: str | None = None
    """What was refused last, in words."""

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Raises ConnectionRefusedError."""
        ip = literal_ip(str(address[0]))
        if ip is None or is_forbidden(ip):
            self.refused = f"{address[0]} {FORBIDDEN}"
            raise ConnectionRefusedError(self.refused)
        await super().sock_connect(sock, address)


class _Notes(logging.Handler):
    """What the library logged last on each thread that delivers; it would repeat itself in the log at each
    attempt. What it logs on other threads, of other users, goes where it would go without this."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = threading.local()

    def begin(self) -> None:
        """From the first sink on: who only imports this module does not meddle with logging."""
        library = logging.getLogger("aiokafka")
        library.addHandler(self)
        library.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(self._kept, "words"):
            logging.getLogger().callHandlers(record)
        elif record.levelno >= logging.WARNING:
            self._kept.words = record.getMessage()

    def last(self) -> str | None:
        return getattr(self._kept, "words", None)

    def forget(self) -> None:
        self._kept.words = None

    def leave(self) -> None:
        """This thread delivers nothing any more."""
        vars(self._kept).pop("words", None)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


_NOTES = _Notes()
