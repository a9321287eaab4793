"""Servers that nobody uses any more: their threads and series end, and no action is lost by that."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from siwatsystem.actions import delivery, writer
from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.selection import Request, Selection
from siwatsystem.actions.targets import Target, redis_target
from siwatsystem.config import OutboxSettings, SupervisionSettings
from siwatsystem.errors import ActionRefused, TargetUnavailable
from siwatsystem.supervision import Supervisor
from tests.servers import until

IDLE_SEC = 0.1
SECRET = {"password": "one of its users"}


def server(port: int, **login: str) -> Target:
    return redis_target({"host": "127.0.0.1", "port": port, **login})


class Site:
    """A watched outbox whose servers take what `deliver` lets through."""

    def __init__(self, path: Path, idle_sec: float) -> None:
        self.taken: list[str] = []
        self.problems: list[Problem] = []
        self.deliver: Callable[[str], None] = lambda message: None
        self.supervisor = Supervisor(SupervisionSettings(), lambda failure: None)
        settings = OutboxSettings(max_attempts=1, retry_sec=0.05, retry_max_sec=0.1)
        self.outbox = Outbox(
            settings, path, on_problem=self.problems.append, watch=self.supervisor.watch, idle_sec=idle_sec
        )

    def take(self, message: str) -> None:
        self.deliver(message)
        self.taken.append(message)

    def say(self, key: str, message: str, lane: str | None = None) -> None:
        job = Job("redis_publish", key, {"channel": "c", "message": message})
        self.outbox.submit(OutboxEvent((job,), lane=lane, subscription="display;cam"))

    def empty(self) -> bool:
        status = self.outbox.status()
        return not status["depth"] and not status["pending"]

    def servers(self) -> list[str]:
        return [one["server"] for one in self.outbox.status()["servers"]]

    def close(self) -> None:
        self.outbox.close()
        self.supervisor.close()


@pytest.fixture
def idle_sec() -> float:
    return IDLE_SEC


@pytest.fixture
def site(tmp_path: Path, idle_sec: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    class Sink:
        def deliver(self, job: StoredJob) -> None:
            made.take(job.payload["message"])

        def close(self) -> None: ...
        def cut(self) -> None: ...

    def open_sink(kind: str, config: Mapping[str, Any], *_: Any, **__: Any) -> Sink:
        return Sink()

    monkeypatch.setattr(delivery, "open_sink", open_sink)
    monkeypatch.setattr(writer, "_LOOK_SEC", 0.05)
    made = Site(tmp_path / "outbox.sqlite", idle_sec)
    yield made
    made.close()


def threads(key: str) -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(f"outbox-{key}")]


def depth(key: str) -> float | None:
    return REGISTRY.get_sample_value("siwat_outbox_depth", {"target": key})


def done(place: str, outcome: str = "done") -> float | None:
    labels = {"action": "redis_publish", "outcome": outcome, "server": place}
    return REGISTRY.get_sample_value("siwat_actions_total", labels)


def test_what_nobody_uses_ends_with_its_threads_series_and_watches(site: Site) -> None:
    key = site.outbox.register(server(40001))
    site.say(key, "one")
    until(lambda: site.taken == ["one"] and depth(key) == 0)
    time.sleep(5 * IDLE_SEC)
    assert threads(key), "an open pipeline names it"
    assert done("redis at 127.0.0.1:40001") == 1
    watched = len(site.supervisor._parts)
    site.outbox.release(key)
    until(lambda: not threads(key), 10)
    assert depth(key) is None
    assert done("redis at 127.0.0.1:40001") is None
    assert done("redis at 127.0.0.1:40001", "failed") is None
    until(lambda: len(site.supervisor._parts) == watched - 1)
    assert site.servers() == []
    assert site.outbox.status()["degraded"] == []
    again = site.outbox.register(server(40001))
    assert again == key
    site.say(key, "two")
    until(lambda: site.taken == ["one", "two"])
    assert done("redis at 127.0.0.1:40001") == 1, "it begins anew"


def test_a_server_is_used_while_one_pipeline_of_several_names_it(site: Site) -> None:
    first, second = site.outbox.register(server(40002)), site.outbox.register(server(40002))
    assert first == second
    site.say(first, "one")
    until(lambda: site.taken == ["one"])
    site.outbox.release(first)
    time.sleep(5 * IDLE_SEC)
    assert threads(first)
    site.outbox.release(first)
    until(lambda: not threads(first), 10)


def test_users_of_one_server_share_what_is_counted_there(site: Site) -> None:
    one, other = site.outbox.register(server(40003)), site.outbox.register(server(40003, **SECRET))
    site.say(one, "one")
    site.say(other, "other")
    until(lambda: sorted(site.taken) == ["one", "other"])
    until(lambda: done("redis at 127.0.0.1:40003") == 2)
    site.outbox.release(one)
    until(lambda: not threads(one), 10)
    assert done("redis at 127.0.0.1:40003") == 2
    assert threads(other)
    site.outbox.release(other)
    until(lambda: done("redis at 127.0.0.1:40003") is None, 10)


def test_a_server_that_is_away_keeps_its_actions_however_long_nobody_names_it(site: Site) -> None:
    away = [True]

    def refuse(message: str) -> None:
        if away:
            raise TargetUnavailable("nobody there")

    site.deliver = refuse
    key = site.outbox.register(server(40004))
    site.say(key, "one")
    until(lambda: site.outbox.status()["degraded"])
    site.outbox.release(key)
    time.sleep(5 * IDLE_SEC)
    assert threads(key)
    away.clear()
    until(lambda: site.taken == ["one"])
    until(lambda: not threads(key), 10)
    assert [problem.ended for problem in site.problems] == [False, True]


def test_what_it_refused_is_over_and_can_be_tried_again_later(site: Site) -> None:
    def refuse(message: str) -> None:
        raise ActionRefused("no such channel", "none")

    site.deliver = refuse
    key = site.outbox.register(server(40005))
    assert done("redis at 127.0.0.1:40005", "failed") == 0, "so that an alert sees the first"
    site.say(key, "one")
    until(lambda: site.outbox.status()["degraded"])
    assert done("redis at 127.0.0.1:40005", "failed") == 1
    site.outbox.release(key)
    until(lambda: not threads(key) and site.outbox.status()["degraded"] == [], 10)
    assert [problem.ended for problem in site.problems] == [False, True]
    assert site.outbox.status()["failed"] == 1
    site.deliver = lambda message: None
    # As `siwat outbox retry` has the writer do it.
    site.outbox._store.do(Request("retry", Selection()))
    site.outbox._servers.hurry(key)
    until(lambda: site.taken == ["one"])
    assert site.outbox.status()["failed"] == 0
    until(lambda: not threads(key), 10)


def test_an_action_of_an_earlier_process_is_done_and_its_server_forgotten(site: Site, tmp_path: Path) -> None:
    first = Site(tmp_path / "other.sqlite", 600)
    first.outbox._servers._deliveries_to = lambda key: []  # type: ignore[method-assign]
    key = first.outbox.register(server(40006))
    first.say(key, "before")
    until(lambda: first.outbox.depth() == {key: 1})
    first.close()
    second = Site(tmp_path / "other.sqlite", IDLE_SEC)
    # The fixture's sinks tell the fixture's site.
    until(lambda: site.taken == ["before"])
    until(lambda: not threads(key) and depth(key) is None, 10)
    second.close()


@pytest.mark.parametrize("idle_sec", [0.0])
def test_no_action_is_lost_doubled_or_overtaken_while_servers_come_and_go(site: Site) -> None:
    """Pipelines open and close all the time, each with an action at the last moment; what is idle ends at
    once, by several threads at a time."""
    ended = threading.Event()
    wrong: list[BaseException] = []

    def retire() -> None:
        try:
            while not ended.is_set():
                site.outbox._servers.retire()
                site.outbox._servers.move_gauges()
        except BaseException as error:
            wrong.append(error)

    def pipelines(crowd: int) -> None:
        chance = random.Random(crowd)
        try:
            for number in range(150):
                target = server(40010 + chance.randrange(3))
                key = site.outbox.register(target)
                site.say(key, f"{crowd}/{number}", lane=f"lane {crowd}")
                site.outbox.release(key)
                if chance.random() < 0.3:
                    time.sleep(chance.random() * 0.02)
        except BaseException as error:
            wrong.append(error)

    retiring = [threading.Thread(target=retire) for _ in range(2)]
    opening = [threading.Thread(target=pipelines, args=(crowd,)) for crowd in range(4)]
    for one in (*retiring, *opening):
        one.start()
    for one in opening:
        one.join(60)
    until(site.empty, 60)
    ended.set()
    for one in retiring:
        one.join(60)
    assert wrong == []
    assert site.problems == []
    assert site.outbox.status()["dropped"] == {}
    assert sorted(site.taken) == sorted(f"{crowd}/{number}" for crowd in range(4) for number in range(150))
    for crowd in range(4):
        of_lane = [message for message in site.taken if message.startswith(f"{crowd}/")]
        assert of_lane == [f"{crowd}/{number}" for number in range(150)]
    keys = [server(40010 + number).key for number in range(3)]
    until(lambda: not any(map(threads, keys)), 10)
    assert [depth(key) for key in keys] == [None] * 3
    assert site.servers() == []
    assert not site.outbox._pending.names
    assert not site.outbox._servers.targets
