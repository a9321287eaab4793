"""A real Redis and a real PostgreSQL for tests, which can be killed, stopped and started again.

Use the fixtures in a test module (or a conftest) by importing them:
`from tests.servers import postgresql_server, redis_server, servers`.
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis

from siwatsystem.embedded.servers import EmbeddedServers


def until(condition: Callable[[], Any], timeout: float = 30.0, every: float = 0.02) -> Any:
    """What `condition` gave once it was true; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(every)
    return value


class Server:
    """One server: `config` is its entry in pipeline.json; port and data stay over kills and starts."""

    def __init__(
        self, name: str, ensure: Callable[[], dict[str, Any]], pids: Callable[[], dict[str, int]]
    ) -> None:
        self.name = name
        self._ensure = ensure
        self._pids = pids
        self.config = ensure()

    @property
    def pid(self) -> int:
        return self._pids()[self.name]

    def start(self) -> None:
        """Start it if it does not run; returns when it answers."""
        self.config = self._ensure()

    def kill(self) -> None:
        """kill -9, children included (as after a crash of the machine it runs on)."""
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: not psutil.pid_exists(self.pid) or psutil.Process(self.pid).status() == "zombie")

    def pause(self) -> None:
        """SIGSTOP: it hangs; connections stay open and are accepted by the kernel."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for process in self._tree():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _tree(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class RedisServer(Server):
    """A Redis of 127.0.0.1."""

    def client(self, **options: Any) -> "redis.Redis":
        """A client with patient time-outs; close it."""
        return redis.Redis(**self.config, socket_timeout=10, **options)


class PostgresServer(Server):
    """A PostgreSQL of 127.0.0.1."""

    def query(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own, committed."""
        config = self.config
        connection = psycopg2.connect(
            host=config["host"],
            port=config["port"],
            dbname=config["database"],
            user=config["username"],
            password=config["password"],
            connect_timeout=10,
        )
        with closing(connection), connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def open_folder() -> Generator[Path]:
    """A temporary folder that the servers' unprivileged user may enter.

    Not in pytest's own: every pytest session that begins closes that to everybody else.
    """
    with tempfile.TemporaryDirectory(prefix="siwat-servers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """The two servers of this test session, ended with it."""
    with open_folder() as folder, closing(EmbeddedServers(folder)) as both:
        yield both


@pytest.fixture
def redis_server(servers: EmbeddedServers) -> Iterator[RedisServer]:
    """A running, empty Redis."""
    server = RedisServer("redis", servers.redis, lambda: servers.pids)
    with closing(server.client()) as client:
        client.flushall()
    yield server
    server.resume()
    server.start()


@pytest.fixture
def postgresql_server(servers: EmbeddedServers) -> Iterator[PostgresServer]:
    """A running PostgreSQL without schemas of earlier tests."""
    server = PostgresServer("postgresql", servers.postgresql, lambda: servers.pids)
    for (schema,) in server.query(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public)'"
    ):
        server.query(f'DROP SCHEMA "{schema}" CASCADE')
    yield server
    server.resume()
    server.start()
