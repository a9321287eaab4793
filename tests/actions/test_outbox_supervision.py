"""Threads of the outbox that die or get stuck: replaced, then told; nothing lost, nothing out of order."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from siwatsystem import supervision
from siwatsystem.actions import delivery
from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import redis_target
from siwatsystem.config import OutboxSettings, SupervisionSettings
from siwatsystem.supervision import Failure, Supervisor
from tests.servers import until

STUCK_SEC = 0.3
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Bench:
    """A watched outbox; its server takes what `deliver` lets through."""

    def __init__(self, folder: Path, window_sec: float) -> None:
        self.problems: list[Problem] = []
        self.failures: list[Failure] = []
        self.taken: list[str] = []
        self.deliver: Callable[[str], None] = lambda message: None
        self.cut: Callable[[], None] = lambda: None
        settings = SupervisionSettings(restarts=3, window_sec=window_sec)
        self.supervisor = Supervisor(settings, self.failures.append)
        self.supervisor.start()
        self.outbox = Outbox(
            # The longest that a job may take is then 0.8 s.
            OutboxSettings(
                command_timeout_sec=0.1, statement_timeout_sec=0.1, retry_sec=0.05, retry_max_sec=0.2
            ),
            folder / "outbox.db",
            on_problem=self.problems.append,
            watch=self.supervisor.watch,
            stuck_sec=STUCK_SEC,
        )
        self.target = self.outbox.register(redis_target({"host": "127.0.0.1", "port": 2}))

    def take(self, message: str) -> None:
        self.deliver(message)
        self.taken.append(message)

    def submit(self, *messages: str, lane: str = "one", blob: Any = None) -> str:
        jobs = [Job("redis_publish", self.target, {"message": message}, blob=blob) for message in messages]
        event = OutboxEvent(tuple(jobs), lane=lane, subscription="display-001;cam-001")
        self.outbox.submit(event)
        return event.event_id

    def restarts(self, kind: str) -> int:
        return sum(part["restarts"] for part in self.supervisor.status() if part["kind"] == kind)

    def empty(self) -> bool:
        status = self.outbox.status()
        return not status["depth"] and not status["pending"]


@pytest.fixture
def window_sec() -> float:
    return 600.0


@pytest.fixture
def bench(tmp_path: Path, window_sec: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    class Sink:
        def __init__(self, config: Mapping[str, Any]) -> None: ...

        def deliver(self, job: StoredJob) -> None:
            made.take(job.payload["message"])

        def close(self) -> None: ...
        def cut(self) -> None:
            made.cut()

    monkeypatch.setattr(supervision, "LOOK_SEC", 0.05)
    monkeypatch.setattr(delivery, "open_sink", lambda kind, config, *_, **__: Sink(config))
    made = Bench(tmp_path, window_sec)
    yield made
    made.outbox.close()
    made.supervisor.close()


def once(action: Callable[[], object]) -> Callable[[], None]:
    """What does `action` the first time only."""
    left = [action]

    def act() -> None:
        if left:
            left.pop()()

    return act


def leave() -> None:
    raise SystemExit


def test_a_delivery_that_died_is_replaced_and_delivers_in_order(bench: Bench) -> None:
    die = once(leave)
    bench.deliver = lambda message: die() if message == "3" else None
    bench.submit(*map(str, range(8)))
    until(bench.empty)
    assert bench.taken == [str(number) for number in range(8)]
    assert bench.restarts("delivery") == 1
    assert bench.failures == []
    assert bench.outbox.status()["degraded"] == []


@pytest.mark.parametrize("window_sec", [5.0])
def test_a_delivery_that_always_dies_is_told_shown_and_tried_later(bench: Bench) -> None:
    dead = [True]
    bench.deliver = lambda message: leave() if dead[0] else None
    bench.submit("a", "b")
    until(lambda: bench.failures)
    assert str(bench.failures[0]) == "delivery redis at 127.0.0.1:2 has failed: its thread has ended"
    assert any("has failed" in words for words in bench.outbox.status()["degraded"])
    assert bench.outbox.status()["depth"] == 2
    dead[0] = False
    until(bench.empty)
    assert bench.taken == ["a", "b"]
    until(lambda: [one.ended for one in bench.failures] == [False, True])
    assert bench.outbox.status()["degraded"] == []


def test_a_call_that_never_comes_back_is_given_up_and_does_no_harm_later(bench: Bench) -> None:
    """The black hole accepts connections and never says a word; its caller has no deadline."""
    hole = socket.create_server(("127.0.0.1", 0))
    caught: list[socket.socket] = []

    def call() -> None:
        caught.append(socket.create_connection(hole.getsockname()))
        caught.append(hole.accept()[0])
        caught[0].recv(1)

    fall = once(call)
    bench.deliver = lambda message: fall() if message == "1" else None
    bench.submit("0", "1", "2", "3")
    bench.submit("other", lane="two")
    until(bench.empty)
    assert [message for message in bench.taken if message != "other"] == ["0", "1", "2", "3"]
    assert bench.restarts("delivery") == 1
    assert bench.failures == []
    bench.submit("4")
    until(bench.empty)
    # It wakes up, and what it was at is done a second time: at least once.
    caught[1].send(b"x")
    until(lambda: bench.taken[-1] == "1")
    bench.submit("5")
    until(lambda: bench.taken[-1] == "5")
    assert [message for message in bench.taken if message != "other"] == ["0", "1", "2", "3", "4", "1", "5"]
    until(bench.empty)
    assert bench.outbox.depth() == {}
    for one in (*caught, hole):
        one.close()


def test_a_call_that_hangs_is_cut_off(bench: Bench) -> None:
    here, there = socket.socketpair()

    def call() -> None:
        if not here.recv(1):
            raise ConnectionError("cut")

    fall = once(call)
    bench.deliver = lambda message: fall()
    bench.cut = lambda: here.shutdown(socket.SHUT_RDWR)
    bench.submit("0", "1")
    until(bench.empty)
    assert bench.taken == ["0", "1"]
    assert bench.outbox.status()["failed"] == 0
    until(lambda: len([t for t in threading.enumerate() if t.name == f"outbox-{bench.target}"]) == 1)
    here.close()
    there.close()


def test_a_delivery_whose_server_is_away_is_not_stuck_and_logs_when_that_was(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "siwatsystem.actions")

    def refuse(message: str) -> None:
        raise delivery.TargetUnavailable("away")

    bench.deliver = refuse
    bench.submit("0")
    until(lambda: bench.outbox.status()["degraded"])
    threading.Event().wait(5 * STUCK_SEC)
    bench.deliver = lambda message: None
    until(bench.empty)
    assert bench.supervisor.status() == []
    until(lambda: "is back" in caplog.text)
    said = [record.message for record in caplog.records if "away (away)" in record.message]
    assert len(said) == 1, "once, however often it is tried"


class Blob:
    """A picture whose encoder does something first, each time."""

    nbytes = 1000

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.acts = list(acts)
        self.calls = 0

    def __call__(self) -> bytes:
        act = self.acts[min(self.calls, len(self.acts) - 1)]
        self.calls += 1
        act()
        return b"picture"


def nothing() -> None: ...


def test_a_writer_that_died_is_replaced_and_loses_nothing(bench: Bench) -> None:
    with bench.outbox._changed:  # One group.
        for number in range(5):
            bench.submit(str(number), blob=Blob(leave, nothing) if number == 3 else None)
    until(bench.empty)
    assert bench.taken == ["0", "1", "2", "3", "4"]
    assert bench.restarts("outbox writer") == 1
    assert bench.outbox.status()["dropped"] == {}
    assert bench.outbox._pending.bytes == 0
    assert bench.problems == []


def test_an_event_that_kills_every_writer_costs_no_other(bench: Bench) -> None:
    with bench.outbox._changed:
        for number in range(5):
            bench.submit(str(number), blob=Blob(leave) if number == 3 else None)
    until(bench.empty)
    until(lambda: bench.problems)
    assert bench.taken == ["0", "1", "2", "4"]
    assert bench.restarts("outbox writer") == 2
    assert bench.outbox.status()["dropped"] == {"failed": 1}
    assert bench.problems[0].subscription == "display-001;cam-001"
    bench.submit("after")
    until(lambda: bench.taken[-1] == "after")
    assert bench.failures == []


def test_a_writer_that_is_stuck_is_replaced_and_stores_nothing_when_it_wakes_up(bench: Bench) -> None:
    awake = threading.Event()
    with bench.outbox._changed:
        for number in range(5):
            bench.submit(str(number), blob=Blob(awake.wait, nothing) if number == 2 else None)
    until(bench.empty)
    assert bench.restarts("outbox writer") == 1
    awake.set()
    until(lambda: len([t for t in threading.enumerate() if t.name == "outbox-writer"]) == 1)
    bench.submit("5")
    until(lambda: bench.taken[-1] == "5")
    assert bench.taken == ["0", "1", "2", "3", "4", "5"]


def test_a_writer_that_is_held_up_right_before_storing_stores_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, picture, awake = bench.outbox._writer, Blob(nothing), threading.Event()
    beat = old._thread.beat

    def late() -> None:
        beat()
        if picture.calls:
            awake.wait(30)

    monkeypatch.setattr(old._thread, "beat", late)
    bench.submit("0", blob=picture)
    until(bench.empty)
    assert bench.taken == ["0"]
    awake.set()
    until(lambda: old.join(0))
    bench.submit("1")
    until(lambda: bench.taken[-1] == "1")
    assert bench.taken == ["0", "1"]


def test_a_disk_that_hangs_in_the_midst_of_writing_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = threading.Event()
    store = bench.outbox._store
    append, hung = store.append, once(lambda: awake.wait(30))

    def slow(*given: Any) -> Any:
        made = append(*given)
        hung()
        return made

    monkeypatch.setattr(store, "append", slow)
    bench.submit("0")
    until(lambda: bench.restarts("outbox writer") >= 1)
    bench.submit("1")
    awake.set()
    until(bench.empty)
    assert bench.taken == ["0", "1"]
    assert bench.outbox.status()["dropped"] == {}


def test_a_closed_outbox_is_not_restarted(bench: Bench) -> None:
    bench.submit("0")
    until(bench.empty)
    bench.outbox.close()
    bench.supervisor.check(1e12)
    assert bench.supervisor.status() == []
