"""The outbox's own threads and figures, with servers that are away or made up."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siwatsystem.actions import delivery
from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.build import Picture
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.selection import Request, Selection
from siwatsystem.actions.targets import redis_target
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import TargetUnavailable
from tests.servers import RedisServer, redis_server, servers, until

__all__ = ["redis_server", "servers"]

HALF = "\ud800"
"""Half a surrogate pair: JSON may hold it, UTF-8 may not."""


class Broken:
    """A picture whose encoder fails as none should."""

    nbytes = 1000

    def __call__(self) -> bytes:
        raise RuntimeError("no encoder")


class Bench:
    """An outbox, what it told, and a server that refuses connections."""

    def __init__(self, path: Path) -> None:
        self.problems: list[Problem] = []
        self.outbox = Outbox(OutboxSettings(max_mb=1), path, on_problem=self.problems.append)
        self.away = self.register(1)

    def register(self, port: int) -> str:
        return self.outbox.register(redis_target({"host": "127.0.0.1", "port": port}))

    def message(self, text: str) -> Job:
        return Job("redis_publish", self.away, {"channel": "c", "message": text})

    def submit(self, *jobs: Job, **facts: Any) -> str:
        event = OutboxEvent(jobs, **facts)
        self.outbox.submit(event)
        return event.event_id

    def together(self, submit: Callable[[], object]) -> None:
        """What `submit` submits is written as one group: the writer is at another event until then."""
        with self.outbox._store.lock:
            self.submit(self.message("first"))
            until(lambda: not self.outbox._pending.events)
            submit()
        until(lambda: not self.outbox.status()["pending"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "outbox.db")
    yield made
    made.outbox.close()


def refusals(problems: list[Problem]) -> list[str | None]:
    return [problem.subscription for problem in problems if problem.subscription]


def test_how_long_a_server_keeps_its_actions_waiting(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.pause()
    outbox = Outbox(OutboxSettings(retry_max_sec=0.5), tmp_path / "outbox.db")
    target = outbox.register(redis_target(dict(redis_server.config)))

    def age() -> float:
        (server,) = outbox.status()["servers"]
        return server["oldestSec"]

    began = time.monotonic()
    for _ in range(3):
        outbox.submit(OutboxEvent((Job("redis_publish", target, {"channel": "c", "message": "x"}),)))
    until(lambda: outbox.depth() and age() > 1.0)
    assert age() <= time.monotonic() - began + 0.2
    # Another process finds them waiting since then.
    outbox.close()
    outbox = Outbox(OutboxSettings(retry_max_sec=0.5), tmp_path / "outbox.db")
    until(lambda: outbox.status()["servers"] and age() > 2.0)
    assert age() <= time.monotonic() - began + 0.2
    redis_server.resume()
    until(lambda: not outbox.depth())
    until(lambda: age() == 0)
    outbox.close()


def test_an_outage_ends_with_the_last_action_that_waits_for_the_server(tmp_path: Path) -> None:
    problems: list[Problem] = []
    settings = OutboxSettings(retry_sec=0.1, retry_max_sec=0.2)
    outbox = Outbox(settings, tmp_path / "outbox.sqlite", on_problem=problems.append)
    away = outbox.register(redis_target({"host": "127.0.0.1", "port": 1}))
    job = Job("redis_publish", away, {"channel": "c", "message": "m"}, expires_at=time.time() + 1)
    try:
        outbox.submit(OutboxEvent((job,)))
        until(lambda: outbox.status()["degraded"])
        until(lambda: outbox.status()["dropped"].get("expired"))
        until(lambda: outbox.status()["degraded"] == [], 10)
        assert [server["error"] for server in outbox.status()["servers"]] == [None]
        until(lambda: len(problems) == 2)
        assert [problem.ended for problem in problems] == [False, True]
        assert problems[1].message == "nothing waits any more for redis at 127.0.0.1:1, which was away"
    finally:
        outbox.close()


def test_one_action_that_is_never_answered_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that fails at one message: it is tried, given up and kept, and the others arrive."""
    taken: list[str] = []

    class Failing(Sink):
        def deliver(self, job: StoredJob) -> None:
            if job.payload["message"] == "poison":
                raise TargetUnavailable("it answers 500 Internal Server Error")
            super().deliver(job)

    monkeypatch.setattr(delivery, "open_sink", lambda _, config, *__, **___: Failing(config, taken))
    settings = OutboxSettings(retry_sec=0.05, retry_max_sec=0.1, max_attempts=3)
    outbox = Outbox(settings, tmp_path / "outbox.sqlite")
    there = outbox.register(redis_target({"host": "127.0.0.1", "port": 2}))

    def submit(text: str) -> None:
        outbox.submit(OutboxEvent((Job("redis_publish", there, {"channel": "c", "message": text}),)))

    try:
        submit("poison")
        until(lambda: outbox.status()["degraded"])
        for number in range(20):
            submit(str(number))
            until(lambda number=number: str(number) in taken)
            time.sleep(0.05)
        until(lambda: outbox.status()["failed"] == 1)
        until(lambda: outbox.depth() == {})
        assert taken == [str(number) for number in range(20)]
    finally:
        outbox.close()


def test_what_a_server_that_is_away_did_not_answer_is_never_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    away = threading.Event()
    away.set()
    tried: list[str] = []

    class Away(Sink):
        def deliver(self, job: StoredJob) -> None:
            tried.append(job.payload["message"])
            if away.is_set():
                raise TargetUnavailable("nobody there")
            super().deliver(job)

    monkeypatch.setattr(delivery, "open_sink", lambda _, config, *__, **___: Away(config, taken))
    settings = OutboxSettings(retry_sec=0.01, retry_max_sec=0.02, max_attempts=1)
    outbox = Outbox(settings, tmp_path / "outbox.sqlite")
    there = outbox.register(redis_target({"host": "127.0.0.1", "port": 2}))
    try:
        for number in range(5):
            job = Job("redis_publish", there, {"channel": "c", "message": str(number)})
            outbox.submit(OutboxEvent((job,)))
        until(lambda: len(tried) > 20)
        away.clear()
        until(lambda: len(taken) == 5)
        assert outbox.status()["failed"] == 0
    finally:
        outbox.close()


def test_half_a_character_costs_no_other_event(bench: Bench) -> None:
    def submit() -> None:
        bench.submit(bench.message("good"), subscription="a;1")
        bench.submit(bench.message(HALF), bench.message("good"), subscription="b;1")
        bench.submit(bench.message("x"), lane=HALF, subscription="c;1")
        bench.submit(bench.message("good"), subscription="d;1")

    bench.together(submit)
    assert bench.outbox.depth() == {bench.away: 4}
    assert refusals(bench.problems) == ["b;1", "c;1"]
    assert bench.outbox._pending.bytes == 0
    with closing(sqlite3.connect(bench.outbox._path)) as database:
        payloads = [row[0] for row in database.execute("SELECT payload FROM jobs ORDER BY seq")]
    assert ["good" in payload for payload in payloads] == [False, True, True, True]


def test_an_event_that_cannot_be_stored_costs_no_other_and_is_told(bench: Bench) -> None:
    def submit() -> None:
        bench.submit(bench.message("good"), subscription="a;1")
        bench.submit(Job("redis_save_image", bench.away, {"key": "k"}, blob=Broken()), subscription="b;1")
        bench.submit(bench.message("good"), subscription="c;1")

    bench.together(submit)
    assert bench.outbox.depth() == {bench.away: 3}
    until(lambda: refusals(bench.problems) == ["b;1"])
    assert bench.outbox.status()["dropped"] == {"failed": 1}
    assert bench.outbox._pending.bytes == 0


def test_an_error_after_writing_writes_nothing_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def look() -> None:
        looked.append(1)
        raise RuntimeError("a mistake")

    monkeypatch.setattr(bench.outbox._writer, "_look_around", look)
    image = Job("redis_save_image", bench.away, {"key": "k"}, blob=bytes(1000))
    bench.together(lambda: bench.submit(image))
    until(lambda: len(looked) >= 2)
    assert bench.outbox._pending.bytes == 0
    assert bench.outbox.depth() == {bench.away: 2}
    assert bench.outbox.status()["dropped"] == {}


def test_status_does_not_wait_for_the_disk(bench: Bench) -> None:
    bench.submit(bench.message("stored"))
    until(lambda: bench.outbox.depth() == {bench.away: 1})
    other = sqlite3.connect(bench.outbox._path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    bench.submit(bench.message("waits"))
    until(lambda: not bench.outbox._pending.events)
    # The writer is at the file, under the store's lock, for as long as SQLite waits for the other.
    until(lambda: not bench.outbox._store.lock.acquire(blocking=False) or bench.outbox._store.lock.release())
    start = time.monotonic()
    status, depth = bench.outbox.status(), bench.outbox.depth()
    assert time.monotonic() - start < 0.5
    assert (status["depth"], status["pending"], status["failed"]) == (1, 1, 0)
    assert depth == {bench.away: 1}
    other.execute("ROLLBACK")
    other.close()
    until(lambda: bench.outbox.depth() == {bench.away: 2})


def test_failures_are_counted_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    first = Bench(path)
    first.submit(first.message("x"))
    until(lambda: first.outbox.depth())
    (seq,) = first.outbox._store.heads(first.away, time.time(), 1)
    first.outbox._store.park(seq, "no")
    assert first.outbox.status()["failed"] == 1
    assert first.outbox.depth() == {}
    first.outbox.close()
    again = Bench(path)
    assert again.outbox.status()["failed"] == 1
    again.outbox.close()


class Sink:
    """A server that takes everything, or (port 1) is away."""

    taken: list[str]

    def __init__(self, config: Mapping[str, Any], taken: list[str]) -> None:
        self.away = config["port"] == 1
        self.taken = taken

    def deliver(self, job: StoredJob) -> None:
        if self.away:
            raise TargetUnavailable("away")
        self.taken.append(job.payload["message"])

    def close(self) -> None: ...
    def cut(self) -> None: ...


def test_a_lane_whose_head_made_room_goes_on_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(delivery, "open_sink", lambda kind, config, *_, **__: Sink(config, taken))
    # Who is not woken does not look again within this test.
    monkeypatch.setattr(delivery, "_IDLE_SEC", 600.0)
    bench = Bench(tmp_path / "outbox.db")
    there = bench.register(2)
    bench.submit(Job("redis_publish", there, {"message": "before"}))
    until(lambda: taken == ["before"] and not bench.outbox.depth())
    image = Job("redis_save_image", bench.away, {"key": "k"}, blob=bytes(600_000))
    bench.submit(image, Job("redis_publish", there, {"message": "behind"}), lane="one")
    until(lambda: bench.outbox.depth() == {bench.away: 1, there: 1})
    bench.submit(image, lane="two")
    until(lambda: taken == ["before", "behind"])
    assert bench.outbox.status()["dropped"] == {"outbox_full": 1}
    bench.outbox.close()


def test_a_picture_that_several_events_save_takes_memory_once(bench: Bench) -> None:
    picture = Picture(np.zeros((100, 100, 3), np.uint8), "jpeg", 90)

    def submit() -> None:
        for number in range(10):
            bench.submit(Job("redis_save_image", bench.away, {"key": f"k{number}"}, blob=picture))
        assert bench.outbox._pending.bytes == 30_000

    bench.together(submit)
    assert bench.outbox.depth() == {bench.away: 11}
    assert bench.outbox._pending.bytes == 0
    assert not bench.outbox._pending.holders


def test_what_was_delivered_has_left_the_store_before_the_next_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    there_still: list[int] = []

    class Counting(Sink):
        """Notes how many of its own jobs the file holds that it has done already."""

        def deliver(self, job: StoredJob) -> None:
            with closing(sqlite3.connect(tmp_path / "outbox.db")) as database:
                rows = database.execute("SELECT payload FROM jobs WHERE target = ?", (job.target,)).fetchall()
            there_still.append(sum(json.loads(row[0])["message"] in taken for row in rows))
            super().deliver(job)

    monkeypatch.setattr(delivery, "open_sink", lambda kind, config, *_, **__: Counting(config, taken))
    bench = Bench(tmp_path / "outbox.db")
    there = bench.register(2)

    def submit() -> None:
        for number in range(20):
            jobs = [Job("redis_publish", there, {"message": f"{number}-{part}"}) for part in range(2)]
            bench.submit(*jobs, lane=str(number))

    bench.together(submit)
    until(lambda: len(taken) == 40 and not bench.outbox.status()["depth"] - 1)
    assert sorted(taken) == sorted(f"{number}-{part}" for number in range(20) for part in range(2))
    assert all(taken.index(f"{number}-0") < taken.index(f"{number}-1") for number in range(20))
    assert set(there_still) == {0}
    bench.outbox.close()


def test_a_lane_does_not_wait_for_the_server_that_hangs_on_anothers_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    answer = threading.Event()

    class Hanging(Sink):
        def deliver(self, job: StoredJob) -> None:
            if job.payload["message"] == "hangs":
                answer.wait(30)
            super().deliver(job)

    monkeypatch.setattr(delivery, "open_sink", lambda kind, config, *_, **__: Hanging(config, taken))
    bench = Bench(tmp_path / "outbox.db")
    first, second = bench.register(2), bench.register(3)

    def submit() -> None:
        behind = Job("redis_publish", second, {"message": "behind"})
        bench.submit(Job("redis_publish", first, {"message": "before"}), behind, lane="one")
        bench.submit(Job("redis_publish", first, {"message": "hangs"}), lane="two")

    bench.together(submit)
    until(lambda: taken == ["before", "behind"])
    answer.set()
    until(lambda: taken == ["before", "behind", "hangs"])
    bench.outbox.close()


def test_what_was_delivered_before_a_server_went_away_is_not_delivered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    away: list[bool] = []

    class Leaving(Sink):
        """Takes three, then is away once."""

        def deliver(self, job: StoredJob) -> None:
            if len(taken) == 3 and not away:
                away.append(True)
                raise TargetUnavailable("away")
            super().deliver(job)

    monkeypatch.setattr(delivery, "open_sink", lambda kind, config, *_, **__: Leaving(config, taken))
    bench = Bench(tmp_path / "outbox.db")
    there = bench.register(2)
    bench.together(lambda: [bench.submit(Job("redis_publish", there, {"message": str(n)})) for n in range(8)])
    until(lambda: len(taken) == 8)
    until(lambda: bench.outbox.depth() == {bench.away: 1})
    assert sorted(taken) == [str(n) for n in range(8)]
    assert away
    bench.outbox.close()


def test_disk_space_is_given_back_once_all_is_done(bench: Bench) -> None:
    path, store = bench.outbox._path, bench.outbox._store
    for number in range(20):
        image = Job("redis_save_image", bench.away, {"key": str(number)}, blob=bytes(40_000))
        bench.submit(image, lane=str(number))
    until(lambda: bench.outbox.depth() == {bench.away: 20})
    store.reclaim()
    assert path.stat().st_size > 800_000
    store.do(Request("drop", Selection()))
    store.tidy()
    assert path.stat().st_size < 100_000
