"""The outbox when its own process is killed, its file is damaged, or its disk is full."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import redis_target
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import InvalidSetting
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers, until

__all__ = ["postgresql_server", "redis_server", "servers"]

ROOT = Path(__file__).parents[2]


def run_until_killed(path: Path, configs: dict[str, object], first: int, seconds: float) -> list[int]:
    """Numbers that the child said were safe before it was killed."""
    child = subprocess.Popen(
        [sys.executable, "tests/integration/outbox_child.py", str(path), json.dumps(configs), str(first)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    said = [int(child.stdout.readline())]
    time.sleep(seconds)
    child.kill()
    said += [int(line) for line in child.stdout.read().splitlines()]
    child.wait()
    child.stdout.close()
    return said


def test_a_killed_worker_loses_and_doubles_nothing(
    tmp_path: Path, redis_server: RedisServer, postgresql_server: PostgresServer
) -> None:
    postgresql_server.query("CREATE SCHEMA gas_station_1")
    # No key on number: doubles would be seen.
    postgresql_server.query("CREATE TABLE gas_station_1.seen (id SERIAL, number INT, lane INT)")
    configs = {"redis": redis_server.config, "postgresql": postgresql_server.config}
    path = tmp_path / "outbox.db"
    chance = random.Random(1)
    safe: list[int] = []
    for attempt in range(5):
        if attempt == 2:
            redis_server.pause()
        if attempt == 3:
            postgresql_server.kill()
        safe += run_until_killed(path, configs, attempt * 100_000, chance.uniform(0.05, 0.6))
        redis_server.resume()
    postgresql_server.start()
    outbox = Outbox(OutboxSettings(), path)
    until(lambda: not outbox.depth(), timeout=60)
    outbox.close()
    stored = [row[0] for row in postgresql_server.query("SELECT number FROM gas_station_1.seen ORDER BY id")]
    print(f"{len(safe)} events safe, {len(stored)} records")
    assert len(safe) >= 50
    assert len(stored) == len(set(stored))
    assert set(safe) <= set(stored)
    for lane in range(7):
        assert [n for n in stored if n % 7 == lane] == sorted(n for n in stored if n % 7 == lane)
    with redis_server.client() as client:
        images = {int(key.decode().removeprefix("image:")) for key in client.keys("image:*")}
    assert images == set(stored)


def image(target: str, key: str, size: int = 10_000) -> Job:
    return Job("redis_save_image", target, {"key": key}, blob=bytes(size))


def message(target: str, text: str) -> Job:
    return Job("redis_publish", target, {"channel": "c", "message": text})


def test_over_its_size_images_go_first_and_it_is_told_and_over(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    problems: list[Problem] = []
    redis_server.kill()
    outbox = Outbox(OutboxSettings(max_mb=1), tmp_path / "outbox.db", on_problem=problems.append)
    target = outbox.register(redis_target(redis_server.config))
    for number in range(200):
        event = OutboxEvent((image(target, f"image:{number}"), message(target, str(number))), lane="one")
        outbox.submit(event)
        until(lambda: outbox.status()["pending"] < 50)
    until(lambda: not outbox.status()["pending"])
    dropped = outbox.status()["dropped"]["outbox_full"]
    assert 100 < dropped < 200
    assert outbox.status()["bytes"] <= 1_000_000
    assert outbox.depth() == {target: 400 - dropped}
    assert [p.code for p in problems if p.code == "outbox_full"] == ["outbox_full"]
    assert any("outbox" in words for words in outbox.status()["degraded"])
    redis_server.start()
    until(lambda: not outbox.depth())
    until(lambda: [p.ended for p in problems if p.code == "outbox_full"] == [False, True])
    assert outbox.status()["degraded"] == []
    outbox.close()
    with redis_server.client() as client:
        kept = sorted(int(key.decode().removeprefix("image:")) for key in client.keys("image:*"))
    assert kept == list(range(dropped, 200))


@pytest.fixture(params=["pages", "tmpfs"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path):
    """A folder, and a way to fill and to free the disk under an outbox's file in it."""
    if request.param == "pages":
        yield (
            tmp_path,
            lambda outbox, full: outbox._store._db.execute(
                f"PRAGMA max_page_count = {1 if full else 100_000}"
            ).fetchall(),
        )
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    filler = tmp_path / "filler"

    def fill(outbox: Outbox, full: bool) -> None:
        filler.unlink(missing_ok=True)
        if full:
            with filler.open("wb", buffering=0) as output:
                try:
                    while output.write(bytes(4096)):
                        pass
                except OSError:
                    return

    yield tmp_path, fill
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_is_told_and_waited_out(small_disk, redis_server: RedisServer) -> None:
    folder, fill = small_disk
    problems: list[Problem] = []
    outbox = Outbox(OutboxSettings(pending=20), folder / "outbox.db", on_problem=problems.append)
    target = outbox.register(redis_target(redis_server.config))
    assert not outbox.status()["degraded"]
    fill(outbox, True)
    for number in range(10):
        outbox.submit(OutboxEvent((image(target, f"image:{number}", 8_000),), event_id=str(number)))
    until(lambda: outbox.status()["degraded"])
    assert outbox.status()["depth"] == 0 or folder.is_mount()
    fill(outbox, False)
    until(lambda: not outbox.status()["degraded"])
    assert all(outbox.flush(str(number), 30) for number in range(10))
    assert [(p.code, p.ended) for p in problems] == [("outbox_full", False), ("outbox_full", True)]
    outbox.close()
    with redis_server.client() as client:
        assert all(client.strlen(f"image:{number}") == 8_000 for number in range(10))


def test_more_than_memory_takes_is_dropped_and_told(tmp_path: Path) -> None:
    problems: list[Problem] = []
    outbox = Outbox(OutboxSettings(pending=5), tmp_path / "outbox.db", on_problem=problems.append)
    target = outbox.register(redis_target({"host": "127.0.0.1", "port": 1}))
    lock = outbox._store.lock
    with lock:  # A disk that does nothing for a while.
        start = time.monotonic()
        for number in range(50):
            outbox.submit(OutboxEvent((message(target, str(number)),), event_id=str(number)))
        assert time.monotonic() - start < 1
        assert not outbox.flush("49", 0.1)
    # It may be over again before anybody looks: only what was told in all can be waited for.
    until(lambda: [p.ended for p in problems if p.code == "overloaded"] == [False, True])
    assert outbox.status()["dropped"] == {"overloaded": 45}
    assert outbox.depth() == {target: 5}
    outbox.close()


@pytest.mark.parametrize("damage", ["garbage", "torn"])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: str, redis_server: RedisServer) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(OutboxSettings(), path)
    target = outbox.register(redis_target({"host": "127.0.0.1", "port": 1}))
    for number in range(50):
        outbox.submit(OutboxEvent((message(target, str(number) * 500),)))
    until(lambda: outbox.depth() == {target: 50})
    outbox.close()
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"nonsense" * 1000)
    elif damage == "torn":
        path.write_bytes(content[:4096] + bytes(len(content) - 8192) + content[-4096:])
    problems: list[Problem] = []
    outbox = Outbox(OutboxSettings(), path, on_problem=problems.append)
    assert [p.code for p in problems] == ["action_failed"]
    assert len(list(tmp_path.glob("outbox.db.damaged-*"))) >= 1
    target = outbox.register(redis_target(redis_server.config))
    event = OutboxEvent((image(target, "image:new"),))
    outbox.submit(event)
    assert outbox.flush(event.event_id, 30)
    assert "outbox.db.damaged-" in str(outbox.status()["degraded"]), "somebody has to look at what is in it"
    outbox.close()


def test_a_file_damaged_while_in_use_is_replaced(tmp_path: Path, redis_server: RedisServer) -> None:
    problems: list[Problem] = []
    outbox = Outbox(OutboxSettings(), tmp_path / "outbox.db", on_problem=problems.append)
    away = outbox.register(redis_target({"host": "127.0.0.1", "port": 1}))
    for number in range(50):
        outbox.submit(OutboxEvent((message(away, str(number) * 500),)))
    until(lambda: outbox.depth() == {away: 50})
    with outbox._store.lock:
        outbox._store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with (tmp_path / "outbox.db").open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 4096 * 20)
        outbox._store._db.execute("PRAGMA shrink_memory").fetchall()
        outbox._store._db.execute("PRAGMA cache_size = 1").fetchall()
    target = outbox.register(redis_target(redis_server.config))
    event = OutboxEvent((image(target, "image:new"),))
    outbox.submit(event)
    assert outbox.flush(event.event_id, 30)
    assert any("damaged" in problem.message for problem in problems)
    outbox.close()


def test_two_processes_do_not_share_an_outbox(tmp_path: Path) -> None:
    outbox = Outbox(OutboxSettings(), tmp_path / "outbox.db")
    with pytest.raises(InvalidSetting):
        Outbox(OutboxSettings(), tmp_path / "outbox.db")
    outbox.close()
    Outbox(OutboxSettings(), tmp_path / "outbox.db").close()


def test_a_job_that_cannot_be_prepared_costs_only_itself(tmp_path: Path, redis_server: RedisServer) -> None:
    problems: list[Problem] = []
    outbox = Outbox(OutboxSettings(), tmp_path / "outbox.db", on_problem=problems.append)
    target = outbox.register(redis_target(redis_server.config))
    jobs = (
        message("redis:unknown", "x"),
        Job("redis_publish", target, {"channel": "c", "message": object()}),
        image(target, "image:good"),
    )
    event = OutboxEvent(jobs, subscription="d;c")
    outbox.submit(event)
    assert outbox.flush(event.event_id, 30)
    outbox.close()
    assert [(p.code, p.subscription) for p in problems] == [("action_failed", "d;c")] * 2
    with redis_server.client() as client:
        assert client.exists("image:good")


DELIVERS = """
import sys, time
from pathlib import Path
from siwatsystem.actions.outbox import Outbox
from siwatsystem.config import OutboxSettings

outbox = Outbox(OutboxSettings(), Path(sys.argv[1]))
print("open", flush=True)
while outbox.depth():
    time.sleep(0.01)
"""


def test_a_kill_repeats_at_most_the_message_that_was_under_way(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    path, kills, messages = tmp_path / "outbox.db", 5, 4000
    redis_server.pause()
    outbox = Outbox(OutboxSettings(pending=messages), path)
    target = outbox.register(redis_target(redis_server.config))
    for number in range(messages):
        outbox.submit(OutboxEvent((message(target, str(number)),), lane=str(number % 40)))
    until(lambda: outbox.depth() == {target: messages})
    outbox.close()
    redis_server.resume()
    chance = random.Random(2)
    with redis_server.client() as client:
        channel = client.pubsub()
        channel.subscribe("c")
        until(lambda: channel.get_message(timeout=0.1))
        for kill in range(kills + 1):
            command = [sys.executable, "-c", DELIVERS, str(path)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
            assert child.stdout is not None
            assert child.stdout.readline() == b"open\n"
            if kill < kills:
                time.sleep(chance.uniform(0.02, 0.12))
                child.kill()
            child.wait(60)
            child.stdout.close()
        heard = [found["data"] for found in iter(lambda: channel.get_message(timeout=0.3), None)]
        channel.close()
    repeated = len(heard) - len(set(heard))
    print(f"{repeated} of {messages} messages were repeated by {kills} kills")
    assert len(set(heard)) == messages
    assert repeated <= kills
    for lane in range(40):
        first = [int(each) for each in dict.fromkeys(heard) if int(each) % 40 == lane]
        assert first == sorted(first)
