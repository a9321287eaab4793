"""The outbox against a real Redis and a real PostgreSQL that are killed, stopped and brought back."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import postgresql_target, redis_target
from siwatsystem.config import OutboxSettings
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers, until

__all__ = ["postgresql_server", "redis_server", "servers"]

TABLE = "gas_station_1.car_frontal_info"


class Bench:
    """An outbox with both servers, and what it told."""

    def __init__(self, path: Path, both: tuple[RedisServer, PostgresServer], **settings: Any) -> None:
        self.problems: list[Problem] = []
        self.outbox = Outbox(OutboxSettings(**settings), path, on_problem=self.problems.append)
        self.redis = self.outbox.register(redis_target(both[0].config))
        self.postgresql = self.outbox.register(postgresql_target(both[1].config))

    def event(self, session: str, number: int) -> str:
        """Submit what a car causes: first record, image, message, update, in this order."""
        name = f"{session}/{number}"
        fields = {"car_brand": f"brand-{number}", "car_model": str(number)}
        jobs = (
            Job(
                "postgresql_initial_record",
                self.postgresql,
                {"display_id": "d", "captured_timestamp": str(number), "session_id": session},
            ),
            Job("redis_save_image", self.redis, {"key": f"image:{name}"}, blob=name.encode() * 100),
            Job("redis_publish", self.redis, {"channel": "cars", "message": json.dumps({"name": name})}),
            self.update(session, fields),
        )
        event = OutboxEvent(jobs, lane=session)
        self.outbox.submit(event)
        return event.event_id

    def update(self, session: str, fields: dict[str, str], table: str = "car_frontal_info") -> Job:
        payload = {
            "table": table,
            "key_field": "session_id",
            "key_value": session,
            "fields": fields,
            "now": ["updated_at"],
        }
        return Job("postgresql_update_combined", self.postgresql, payload)

    def empty(self) -> bool:
        return not self.outbox.depth() and not self.outbox.status()["pending"]


@contextmanager
def bench(path: Path, both: tuple[RedisServer, PostgresServer], **settings: Any) -> Iterator[Bench]:
    made = Bench(path, both, **settings)
    try:
        yield made
    finally:
        made.outbox.close()


@pytest.fixture
def both(redis_server: RedisServer, postgresql_server: PostgresServer) -> tuple[RedisServer, PostgresServer]:
    return redis_server, postgresql_server


class Listener:
    """Everything published on `cars`, across restarts of the server, and whether its image was there."""

    def __init__(self, server: RedisServer) -> None:
        self.names: list[str] = []
        self.without_image: list[str] = []
        self.ready = threading.Event()
        self._stop = threading.Event()
        self._server = server
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(redis.RedisError, OSError):
                client = self._server.client()
                channel = client.pubsub(ignore_subscribe_messages=False)
                channel.subscribe("cars")
                while not self._stop.is_set():
                    message = channel.get_message(timeout=0.1)
                    if message and message["type"] == "subscribe":
                        self.ready.set()
                    elif message:
                        name = json.loads(message["data"])["name"]
                        self.names.append(name)
                        if not client.exists(f"image:{name}"):
                            self.without_image.append(name)
                channel.close()
                client.close()
            self.ready.clear()
            time.sleep(0.01)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


def rows(server: PostgresServer) -> dict[str, tuple[str, str, str]]:
    found = server.query(f"SELECT session_id, captured_timestamp, car_brand, car_model FROM {TABLE}")
    assert len({row[0] for row in found}) == len(found)
    return {row[0]: row[1:] for row in found}


def in_order(names: list[str]) -> bool:
    """Whether each session's first occurrences count up."""
    sessions: dict[str, list[int]] = defaultdict(list)
    for name in dict.fromkeys(names):
        session, number = name.split("/")
        sessions[session].append(int(number))
    return all(numbers == sorted(numbers) for numbers in sessions.values())


def test_an_event_arrives_in_order_and_flush_says_so(tmp_path, both):
    listener = Listener(both[0])
    assert listener.ready.wait(10)
    with bench(tmp_path / "outbox.db", both) as made:
        assert made.outbox.flush(made.event("s", 1), 30)
        assert made.empty()
        assert made.problems == []
    until(lambda: listener.names == ["s/1"])
    listener.close()
    assert listener.without_image == []
    assert rows(both[1]) == {"s": ("1", "brand-1", "1")}
    assert (tmp_path / "outbox.db").stat().st_mode & 0o777 == 0o600


def test_nothing_is_lost_or_doubled_when_both_servers_are_killed(tmp_path, both):
    listener = Listener(both[0])
    assert listener.ready.wait(10)
    with bench(tmp_path / "outbox.db", both) as made:
        for number in range(20):
            for session in range(10):
                made.event(f"s{session}", number)
            if number == 5:
                both[0].kill()
            if number == 8:
                both[1].kill()
            if number == 12:
                both[0].start()
                until(listener.ready.is_set)
            time.sleep(0.02)
        until(lambda: made.outbox.status()["degraded"])
        both[1].start()
        until(made.empty, timeout=60)
        begun = [problem for problem in made.problems if not problem.ended]
        ended = [problem for problem in made.problems if problem.ended]
        assert len(begun) == len(ended) >= 1
        assert all(both[1].config["password"] not in problem.message for problem in made.problems)
    listener.close()
    expected = {f"s{session}/{number}" for session in range(10) for number in range(20)}
    with both[0].client() as client:
        assert {key.decode().removeprefix("image:") for key in client.keys("image:*")} == expected
        assert client.get("image:s3/7") == b"s3/7" * 100
    assert in_order(listener.names)
    assert listener.without_image == []
    assert rows(both[1]) == {f"s{session}": ("0", "brand-19", "19") for session in range(10)}


def test_every_message_is_sent_though_redis_hangs(tmp_path, both):
    listener = Listener(both[0])
    assert listener.ready.wait(10)
    with bench(tmp_path / "outbox.db", both) as made:
        for number in range(20):
            for session in range(5):
                made.event(f"s{session}", number)
            if number in (4, 12):
                both[0].pause()
            if number in (8, 16):
                until(lambda: made.outbox.status()["degraded"])
                both[0].resume()
        until(made.empty, timeout=60)
    expected = {f"s{session}/{number}" for session in range(5) for number in range(20)}
    until(lambda: set(listener.names) == expected)
    listener.close()
    assert in_order(listener.names)
    assert listener.without_image == []


def test_a_hung_redis_delays_no_records_of_others(tmp_path, both):
    with bench(tmp_path / "outbox.db", both) as made:
        assert made.outbox.flush(made.event("first", 1), 30)
        both[0].pause()
        stuck = made.event("stuck", 1)
        for number in range(20):
            made.outbox.submit(OutboxEvent((made.update(f"free{number}", {"car_brand": "x"}),)))
        until(lambda: len(rows(both[1])) == 22)  # and the first record of the event that is stuck
        # Safe on disk because a server is away is as good as delivered for who waits.
        assert made.outbox.flush(stuck, 10)
        assert rows(both[1])["stuck"] == ("1", None, None)
        start = time.monotonic()
        both[0].resume()
        until(made.empty)
        print(f"resumed after {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < 10
        assert rows(both[1])["stuck"] == ("1", "brand-1", "1")


def test_delivery_resumes_soon_after_each_server_is_back(tmp_path, both):
    with bench(tmp_path / "outbox.db", both) as made:
        # The back-off has grown to 4 s by then: how soon is up to it, not to this machine.
        for server, promise in zip(both, (5, 10), strict=True):
            server.kill()
            made.event("s", 1)
            until(lambda: made.outbox.status()["degraded"])
            time.sleep(3)
            server.start()
            start = time.monotonic()
            until(made.empty)
            took = time.monotonic() - start
            print(f"{server.name} resumed after {took:.2f} s")
            assert took < promise
            assert not made.outbox.status()["degraded"]


def test_a_refused_record_is_told_and_holds_up_nothing_for_ever(tmp_path, both):
    with bench(tmp_path / "outbox.db", both, max_attempts=2, retry_sec=0.05) as made:
        bad = made.update("s", {"car_brand": "x"}, table="no_such_table")
        made.outbox.submit(OutboxEvent((bad,), lane="s", subscription="display-001;cam-001"))
        event = made.event("s", 1)
        assert made.outbox.flush(event, 30)
        until(made.empty)
        (problem,) = made.problems
        assert problem.code == "action_failed"
        assert problem.subscription == "display-001;cam-001"
        assert "no_such_table" in problem.message
        assert not problem.ended
        assert made.outbox.status()["failed"] == 1
    assert rows(both[1])["s"] == ("1", "brand-1", "1")


def test_records_that_are_refused_for_good_hold_up_nothing_and_are_told_once(tmp_path, both):
    # A single wait for another attempt would outlast this test.
    with bench(tmp_path / "outbox.db", both, retry_sec=600.0, retry_max_sec=600.0) as made:
        for _ in range(5):
            bad = made.update("s", {"car_brand": "x" * 300})
            made.outbox.submit(OutboxEvent((bad,), lane="s", subscription="display-001;cam-001"))
        until(lambda: made.outbox.status()["failed"] == 5)
        until(lambda: made.problems)
        (words,) = made.outbox.status()["degraded"]
        assert "refuses car_frontal_info (22001)" in words
        assert made.outbox.flush(made.event("s", 1), 30)
        assert [(p.code, p.ended) for p in made.problems] == [
            ("action_failed", False),
            ("action_failed", True),
        ]
        assert {problem.subscription for problem in made.problems} == {"display-001;cam-001"}
        assert made.outbox.status()["degraded"] == []
    assert rows(both[1])["s"] == ("1", "brand-1", "1")


def test_a_table_that_was_dropped_meanwhile_costs_no_record(tmp_path, both):
    with bench(tmp_path / "outbox.db", both) as made:
        assert made.outbox.flush(made.event("before", 1), 30)
        both[1].query(f"DROP TABLE {TABLE}")
        assert made.outbox.flush(made.event("after", 1), 30)
        assert made.outbox.status()["failed"] == 0
        assert made.problems == []
    assert rows(both[1]) == {"after": ("1", "brand-1", "1")}


def test_an_expired_image_is_dropped_and_counted_and_a_live_one_expires(tmp_path, both):
    with bench(tmp_path / "outbox.db", both) as made:
        both[0].kill()
        for name, seconds in (("old", 0.5), ("new", 500.0)):
            job = Job("redis_save_image", made.redis, {"key": name}, b"x", expires_at=time.time() + seconds)
            made.outbox.submit(OutboxEvent((job,)))
        time.sleep(1)
        both[0].start()
        until(made.empty)
        assert made.outbox.status()["dropped"] == {"expired": 1}
        with both[0].client() as client:
            assert client.keys() == [b"new"]
            assert 400 < client.ttl("new") <= 500


def test_what_was_left_goes_out_after_a_restart(tmp_path, both):
    for server in both:
        server.kill()
    with bench(tmp_path / "outbox.db", both) as made:
        made.event("s", 1)
    for server in both:
        server.start()
    outbox = Outbox(OutboxSettings(), tmp_path / "outbox.db")
    until(lambda: not outbox.depth())
    outbox.close()
    assert rows(both[1]) == {"s": ("1", "brand-1", "1")}
    with both[0].client() as client:
        assert client.keys() == [b"image:s/1"]
