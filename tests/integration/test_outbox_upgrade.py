"""An outbox that another version of the worker wrote."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from siwatsystem.actions import schema
from siwatsystem.actions.outbox import Outbox
from siwatsystem.config import OutboxSettings
from siwatsystem.embedded.servers import EmbeddedServers
from siwatsystem.errors import InvalidSetting
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers, until

__all__ = ["postgresql_server", "redis_server", "servers"]

ROOT = Path(__file__).parents[2]
VERSION_1 = ROOT / "tests" / "actions" / "fixtures" / "outbox-v1.sqlite"
"""Written by version 1: sessions s1 and s2 with four events each (of s2 the first job was done and the
second refused once), s3 with one event that has no lane, and two jobs that had failed."""


def messages(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM jobs").fetchone()[0]


def test_a_file_of_version_1_is_delivered_whole(
    tmp_path: Path, servers: EmbeddedServers, redis_server: RedisServer, postgresql_server: PostgresServer
) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(VERSION_1, path)
    assert messages(path) == 35
    with closing(redis_server.client()) as client, closing(client.pubsub()) as channel:
        channel.subscribe("cars")
        until(lambda: channel.get_message(timeout=0.1))
        outbox = Outbox(OutboxSettings(), path, embedded=servers)
        assert outbox.status()["failed"] == 2
        until(lambda: not outbox.depth())
        assert outbox.status()["failed"] == 2
        assert outbox.status()["dropped"] == {}
        outbox.close()
        told = [found["data"].decode() for found in iter(lambda: channel.get_message(timeout=0.2), None)]
        expected = {f"image:{session}/{n}" for session in ("s1", "s2") for n in range(4)} | {"image:s3/0"}
        assert {key.decode() for key in client.keys("image:*")} == expected
        assert client.get("image:s2/3") == b"s2/3" * 20
        assert client.ttl("image:s1/0") > 0
    for session in ("s1", "s2"):
        assert [n for n in range(4) for text in told if f'"{session}/{n}"' in text] == [0, 1, 2, 3]
        assert [text for text in told if f'"{session}/' in text] == sorted(
            t for t in told if f'"{session}/' in t
        )
    assert len(told) == 9
    rows = postgresql_server.query(
        "SELECT session_id, captured_timestamp, car_brand, car_model FROM gas_station_1.car_frontal_info"
        " ORDER BY session_id"
    )
    # The first record of s2 was written by the worker before.
    assert rows == [("s1", "t0", "brand-3", "3"), ("s2", "t1", "brand-3", "3"), ("s3", "t0", "brand-0", "0")]


def test_a_file_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(VERSION_1, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {schema.VERSION + 7}")
    before = path.read_bytes()
    with pytest.raises(InvalidSetting, match=rf"version {schema.VERSION + 7}\b.* up to {schema.VERSION}\b"):
        Outbox(OutboxSettings(), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir() if "damaged" in found.name] == []
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")
    Outbox(OutboxSettings(), path).close()


KILLED = """
import os, signal, sys
from pathlib import Path
from siwatsystem.actions import schema
from siwatsystem.actions.store import Store

connect, left = schema.connect, int(sys.argv[2])

def watched(path):
    def trace(statement):
        global left
        left -= statement.split()[0] in ("ALTER", "UPDATE", "INSERT", "CREATE", "DROP", "COMMIT")
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    database = connect(path)
    database.set_trace_callback(trace)
    return database

schema.connect = watched
Store(Path(sys.argv[1]), 1 << 30).close()
"""


@pytest.mark.parametrize("statement", [0, 3, 6, 8, 10])
def test_a_migration_that_is_killed_is_made_again_whole(tmp_path: Path, statement: int) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(VERSION_1, path)
    child = subprocess.run([sys.executable, "-c", KILLED, str(path), str(statement)], cwd=ROOT, timeout=60)
    assert child.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in database.execute("PRAGMA table_info(jobs)")]
        assert "created" not in columns
    outbox = Outbox(OutboxSettings(), path)
    assert sum(outbox.depth().values()) == 35
    assert outbox.status()["failed"] == 2
    outbox.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert database.execute("SELECT count(*), min(created) > 0, max(refusals) FROM jobs").fetchone() == (
            35,
            1,
            1,
        )
