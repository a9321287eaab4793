"""What the tests of the sinks share: a sink as the outbox opens it, jobs, and servers that misbehave."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.registry import Sink, open_sink
from siwatsystem.actions.targets import Target
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import TargetUnavailable

ANY = "(?s)."
SECRET = "a-secret-of-this-test"
PATIENT: dict[str, Any] = {"broker_timeout_sec": 10, "webhook_timeout_sec": 10}
HASTY: dict[str, Any] = {"broker_timeout_sec": 0.5, "webhook_timeout_sec": 0.5}


def opened(target: Target, **settings: Any) -> Sink:
    made = OutboxSettings.model_validate(PATIENT | settings)
    return open_sink(target.kind, dict(target.settings), made)


def job(kind: Any, number: int = 1, **payload: Any) -> StoredJob:
    return StoredJob(number, "e", None, "t", kind, f"key-{number}", {"message": "m", **payload}, None, 0, 0)


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def echoing() -> Iterator[int]:
    """The port of a server that repeats what it is told and hangs up."""

    def run() -> None:
        while True:
            try:
                link = server.accept()[0]
            except OSError:
                return
            with link, suppress(OSError):
                link.settimeout(5)
                link.sendall(link.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def seconds_until_unavailable(sink: Sink, one: StoredJob, words: str) -> float:
    began = time.monotonic()
    with pytest.raises(TargetUnavailable, match=words):
        sink.deliver(one)
    return time.monotonic() - began


def told_by_who_repeats_all(target: Target, one: StoredJob) -> str:
    with closing(opened(target, **HASTY)) as sink, pytest.raises(TargetUnavailable) as told:
        sink.deliver(one)
    return str(told.value)
