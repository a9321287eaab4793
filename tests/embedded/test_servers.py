"""The embedded servers as whole processes."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from siwatsystem.embedded import process
from siwatsystem.embedded.process import Account
from siwatsystem.embedded.servers import EmbeddedServers
from siwatsystem.errors import TargetUnavailable
from tests.servers import open_folder, until

Open = Callable[[Path], EmbeddedServers]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' user may enter."""
    with open_folder() as found:
        yield found


@pytest.fixture
def open_servers() -> Iterator[Open]:
    """Makes servers that end with the test, however it ends."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(EmbeddedServers(folder)))


def write(servers: EmbeddedServers, word: str) -> None:
    config = servers.postgresql()
    with redis.Redis(**servers.redis()) as client:
        client.set(word, word)
    connection = connect(config)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")
        cursor.execute("INSERT INTO words VALUES (%s)", (word,))
    connection.close()


def read(servers: EmbeddedServers) -> tuple[set[str], set[str]]:
    with redis.Redis(**servers.redis()) as client:
        keys = {key.decode() for key in client.keys("*")}
    connection = connect(servers.postgresql())
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT word FROM words")
        words = {row[0] for row in cursor.fetchall()}
    connection.close()
    return keys, words


def connect(config: dict[str, object]) -> "psycopg2.extensions.connection":
    return psycopg2.connect(
        host=config["host"],
        port=config["port"],
        dbname=config["database"],
        user=config["username"],
        password=config["password"],
    )


def test_data_stays_over_kills_and_restarts_and_nothing_is_left_running(
    folder: Path, open_servers: Open, caplog: pytest.LogCaptureFixture
) -> None:
    servers = open_servers(folder)
    assert servers.pids == {}
    write(servers, "one")
    ports = servers.redis()["port"], servers.postgresql()["port"]
    for pid in servers.pids.values():
        psutil.Process(pid).kill()
    until(lambda: all(psutil.Process(pid).status() == "zombie" for pid in servers.pids.values()))
    write(servers, "two")
    ends = [record.message for record in caplog.records if "is started again" in record.message]
    assert sorted(each.split()[1] for each in ends) == ["postgresql", "redis"]
    assert ports == (servers.redis()["port"], servers.postgresql()["port"])
    pids = servers.pids.values()
    if psutil.Process().uids().real == 0:
        assert all(psutil.Process(pid).uids().real != 0 for pid in pids)
    servers.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(TargetUnavailable):
        servers.redis()
    servers = open_servers(folder)
    assert read(servers) == ({"one", "two"}, {"one", "two"})
    servers.close()


def test_passwords_are_needed_and_private(folder: Path, open_servers: Open) -> None:
    servers = open_servers(folder)
    config = servers.redis()
    with redis.Redis(host=config["host"], port=config["port"]) as client, pytest.raises(redis.RedisError):
        client.ping()
    wrong = servers.postgresql() | {"password": "wrong"}
    with pytest.raises(psycopg2.OperationalError):
        connect(wrong)
    for name in ("redis", "postgresql"):
        assert (folder / "embedded" / f"{name}.password").stat().st_mode & 0o777 == 0o600
        arguments = " ".join(psutil.Process(servers.pids[name]).cmdline())
        assert (folder / "embedded" / f"{name}.password").read_text() not in arguments
    servers.close()


def test_no_server_outlives_a_killed_worker_and_the_next_finds_its_data(
    folder: Path, open_servers: Open
) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from siwatsystem.embedded.servers import EmbeddedServers\n"
        "servers = EmbeddedServers(Path(sys.argv[1])); servers.redis(); servers.postgresql()\n"
        "print(*servers.pids.values(), flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    pids = [int(word) for word in child.stdout.readline().split()]
    assert len(pids) == 2
    with pytest.raises(TargetUnavailable, match="another worker"):
        open_servers(folder).redis()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    servers = open_servers(folder)
    write(servers, "after")
    servers.close()


def test_a_half_made_cluster_and_a_stale_pid_file_are_no_hindrance(folder: Path, open_servers: Open) -> None:
    data = folder / "embedded" / "postgresql"
    (data / "new").mkdir(parents=True)
    (data / "new" / "half").write_text("x")
    (data / "postmaster.pid").write_text("1\n")
    servers = open_servers(folder)
    write(servers, "one")
    servers.close()


def test_a_folder_that_the_user_may_not_enter_is_known(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    stranger = Account(65534, 65534)
    assert not process.reachable(closed / "data", stranger)
    assert process.reachable(closed / "data", Account())
    closed.chmod(0o711)
    assert process.reachable(closed / "data", stranger)
