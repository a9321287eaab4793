"""The outbox with MQTT, Kafka and webhooks beside Redis: order across them, outages, kills, refusals."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from siwatsystem.__main__ import app
from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.brokers import kafka_target, mqtt_target
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.targets import redis_target
from siwatsystem.config import OutboxSettings
from tests.brokers import Kafka, Mosquitto, Receiver, Subscriber, free_port, kafka, mosquitto, receiver
from tests.servers import RedisServer, redis_server, servers, until

__all__ = ["redis_server", "servers"]

ROOT = Path(__file__).parents[2]
SECRET = "zqSecret-zqSecret"
SETTINGS: dict[str, Any] = {"retry_sec": 0.1, "retry_max_sec": 0.3, "webhook_timeout_sec": 2}


class Site:
    """An outbox with the three, and what it told."""

    def __init__(
        self, path: Path, broker: Mosquitto, url: str, cluster: Kafka | None = None, **settings: Any
    ) -> None:
        self.problems: list[Problem] = []
        made = OutboxSettings.model_validate(SETTINGS | settings)
        self.path = path
        self.outbox = Outbox(made, path, on_problem=self.problems.append)
        self.mqtt = self.outbox.register(mqtt_target({"host": "127.0.0.1", "port": broker.port}))
        self.webhook = self.outbox.register(webhook_target(url, SECRET, True))
        servers = {"bootstrap_servers": f"127.0.0.1:{cluster.port if cluster else free_port()}"}
        self.kafka = self.outbox.register(kafka_target(servers))

    def job(self, kind: Any, message: str) -> Job:
        more = {
            "mqtt_publish": {"topic": "cars", "retain": False},
            "kafka_publish": {"topic": "cars", "key": "k"},
        }
        target = {"mqtt_publish": self.mqtt, "kafka_publish": self.kafka, "webhook": self.webhook}[kind]
        return Job(kind, target, {"message": message, **more.get(kind, {})})

    def say(self, lane: str, number: int, *kinds: Any) -> None:
        jobs = tuple(self.job(kind, f"{lane}/{number}") for kind in kinds)
        self.outbox.submit(OutboxEvent(jobs, lane=lane))

    def empty(self) -> bool:
        return not self.outbox.depth() and not self.outbox.status()["pending"]


@contextmanager
def site(
    path: Path, broker: Mosquitto, url: str, cluster: Kafka | None = None, **settings: Any
) -> Iterator[Site]:
    made = Site(path / "outbox.sqlite", broker, url, cluster, **settings)
    try:
        yield made
    finally:
        made.outbox.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as found:
        yield found


def at(received: Receiver) -> str:
    return f"http://127.0.0.1:{received.port}/cars"


def counts(lane: str, said: list[str]) -> list[int]:
    """Numbers of a lane in the order of their first arrival."""
    return [int(one.partition("/")[2]) for one in dict.fromkeys(said) if one.startswith(f"{lane}/")]


def test_an_events_order_holds_across_all_servers(tmp_path: Path, redis_server: RedisServer, broker) -> None:
    order: list[str] = []
    with receiver() as received, kafka() as cluster, site(tmp_path, broker, at(received), cluster) as made:
        listener = Subscriber(broker.port)
        redis = made.outbox.register(redis_target(redis_server.config))
        # The picture is there before whoever is told of it looks.
        received.on_message = lambda body: order.append(f"{body} {redis_server.client().exists('image')}")
        jobs = (
            Job("redis_save_image", redis, {"key": "image"}, blob=b"picture"),
            made.job("webhook", "one"),
            made.job("mqtt_publish", "two"),
            made.job("kafka_publish", "three"),
            made.job("webhook", "four"),
        )
        event = OutboxEvent(jobs, lane="s")
        made.outbox.submit(event)
        assert made.outbox.flush(event.event_id, 30)
        assert made.empty()
        until(lambda: listener.got == [("cars", "two")])
        listener.close()
        assert order == ["one 1", "four 1"]
        assert cluster.read("cars", 1) == [("k", "three")]
        assert made.problems == []
        places = {one["server"] for one in made.outbox.status()["servers"]}
    assert {f"mqtt at 127.0.0.1:{broker.port}", f"webhook at 127.0.0.1:{received.port}"} <= places


def test_what_is_said_during_outages_arrives_in_order(tmp_path: Path, broker: Mosquitto) -> None:
    listener = Subscriber(broker.port)
    port = free_port()
    url = f"http://127.0.0.1:{port}/cars"
    with kafka() as cluster, site(tmp_path, broker, url, cluster, broker_timeout_sec=1) as made:
        number = 0

        def say(count: int) -> None:
            nonlocal number
            for _ in range(count):
                made.say("a", number, "webhook", "mqtt_publish", "kafka_publish")
                made.say("b", number, "mqtt_publish")
                number += 1

        say(5)
        until(lambda: any("is away" in words for words in made.outbox.status()["degraded"]))
        with receiver(port) as first:
            say(5)
            until(lambda: len(first.got) >= 10)
        cluster.down()
        broker.kill()
        say(5)
        with receiver(port) as second:
            until(lambda: any("mqtt" in words for words in made.outbox.status()["degraded"]))
            broker.start()
            cluster.up()
            say(5)
            until(made.empty, 40)
            heard = first.bodies + second.bodies
        assert [problem.code for problem in made.problems if not problem.ended]
        until(lambda: made.outbox.status()["degraded"] == [])
        read = [value for _, value in cluster.read("cars", number)]
    listener_said = lambda: [message for _, message in listener.got]  # noqa: E731
    until(lambda: len(counts("b", listener_said())) == number)
    listener.close()
    everything = list(range(number))
    assert counts("a", heard) == everything
    assert counts("a", listener_said()) == everything
    assert counts("b", listener_said()) == everything
    assert counts("a", read) == everything


def test_a_killed_worker_says_everything_and_a_repeat_has_its_old_id(
    tmp_path: Path, broker: Mosquitto
) -> None:
    listener, chance, safe = Subscriber(broker.port), random.Random(1), list[int]()
    with receiver() as received:
        configs = json.dumps({"mqtt": {"host": "127.0.0.1", "port": broker.port}, "url": at(received)})
        path = tmp_path / "outbox.sqlite"
        for attempt in range(4):
            command = [sys.executable, "tests/integration/sinks_child.py", str(path), configs]
            child = subprocess.Popen(
                [*command, str(attempt * 100_000)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT)},
            )
            assert child.stdout is not None
            safe.append(int(child.stdout.readline()))
            time.sleep(chance.uniform(0.05, 0.4))
            child.kill()
            safe += [int(line) for line in child.stdout.read().splitlines()]
            child.wait()
            child.stdout.close()
        with closing(Outbox(OutboxSettings(), path)) as outbox:
            until(lambda: not outbox.depth(), 60)
        until(lambda: set(safe) <= {int(message) for _, message in listener.got})
        listener.close()
        ids = [(int(body), headers["webhook-id"]) for _, headers, body in received.got]
    assert len(safe) >= 20
    for said in ([number for number, _ in ids], [int(message) for _, message in listener.got]):
        assert set(safe) <= set(said)
        # A kill repeats one job at most.
        assert len(said) - len(set(said)) <= 4
        first = list(dict.fromkeys(said))
        for lane in range(3):
            assert [n for n in first if n % 3 == lane] == sorted(n for n in first if n % 3 == lane)
    assert len(set(ids)) == len({number for number, _ in ids})


def test_a_receiver_that_hangs_holds_up_its_own_lanes_alone(tmp_path: Path, broker: Mosquitto) -> None:
    listener = Subscriber(broker.port)
    with receiver() as received:
        received.wait_sec = 30
        with site(tmp_path, broker, at(received)) as made:
            made.say("hung", 1, "webhook", "mqtt_publish")
            until(lambda: received.got)
            for number in range(20):
                made.say(f"other-{number}", number, "mqtt_publish")
            until(lambda: len(listener.got) == 20, 10)
            assert not any(message.startswith("hung") for _, message in listener.got)
            # A broker has a message before the outbox knows that it has.
            until(lambda: made.outbox.depth() == {made.webhook: 1, made.mqtt: 1})
            until(lambda: any("no answer within 2 s" in words for words in made.outbox.status()["degraded"]))
            received.wait_sec = 0
            until(made.empty, 30)
            until(lambda: ("cars", "hung/1") in listener.got)
            listener.close()
        assert len({headers["webhook-id"] for _, headers, _ in received.got}) == 1


def test_what_is_refused_is_kept_told_and_shown_without_secrets(tmp_path: Path, broker: Mosquitto) -> None:
    def failed(port: int) -> float:
        labels = {"action": "webhook", "outcome": "failed", "server": f"webhook at 127.0.0.1:{port}"}
        return REGISTRY.get_sample_value("siwat_actions_total", labels) or 0.0

    with receiver() as received:
        received.statuses = [403]
        url = f"{at(received)}/zqPath?token=zqQuery"
        with site(tmp_path, broker, url) as made:
            made.say("s", 1, "webhook")
            made.say("s", 2, "webhook")
            until(made.empty)
            # Once: it would be refused again, and what comes after it is said all the same.
            assert received.bodies == ["s/1", "s/2"]
            assert failed(received.port) == 1
            [problem] = [one for one in made.problems if not one.ended]
            assert "webhook" in problem.message
            assert "403 Forbidden" in problem.message
            said = [json.dumps(made.outbox.status()), *map(str, made.problems)]
            shows: list[str] = []
            for words in (["list", "--failed"], ["list", "--json"], ["show", "1"], ["show", "1", "--json"]):
                shown = CliRunner().invoke(app, ["outbox", *words, "--file", str(made.path)])
                assert shown.exit_code == 0, shown.output
                shows.append(shown.output)
            assert "403" in shows[0]
            assert "s/1" in shows[2]
            assert not [text for text in said + shows if "zq" in text]
            done = CliRunner().invoke(app, ["outbox", "retry", "--failed", "--file", str(made.path)])
            assert done.exit_code == 0, done.output
            until(lambda: received.bodies == ["s/1", "s/2", "s/1"])
            until(made.empty)
