"""The driver of Kafka against a broker that speaks the protocol: what comes of each answer."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from siwatsystem.actions.brokers import kafka_target
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.kafka import CheckedLoop
from siwatsystem.actions.targets import Target
from siwatsystem.errors import ActionFailed, ActionRefused
from tests.actions.sinks import (
    ANY,
    HASTY,
    echoing,
    job,
    opened,
    seconds_until_unavailable,
    silent,
    told_by_who_repeats_all,
)
from tests.brokers import Kafka, free_port, kafka, receiver

pytestmark = pytest.mark.xdist_group("kafka")


def keyed(number: int, topic: str = "cars", message: str | None = None) -> StoredJob:
    return job("kafka_publish", number, topic=topic, key="k", message=message or str(number))


@pytest.fixture
def broker() -> Iterator[Kafka]:
    with kafka() as found:
        yield found


def to_kafka(broker: Kafka, **settings: Any) -> Target:
    return kafka_target({"bootstrap_servers": f"localhost:{broker.port}", **settings})


def test_an_independent_client_reads_key_and_message_in_order(broker):
    with closing(opened(to_kafka(broker))) as sink:
        for number in range(50):
            sink.deliver(keyed(number))
        sink.deliver(job("kafka_publish", topic="other", key=None, message="ü"))
    assert broker.read("cars", 50) == [("k", str(number)) for number in range(50)]
    assert broker.read("other", 1) == [(None, "ü")]


def test_a_broker_that_hangs_costs_one_time_out(broker):
    with closing(opened(to_kafka(broker), broker_timeout_sec=1.5)) as sink:
        sink.deliver(keyed(1))
        broker.pause()
        assert seconds_until_unavailable(sink, keyed(2), "no answer within 1.5 s") < 4.5
        began = time.monotonic()
        sink.close()
        with closing(opened(to_kafka(broker), **HASTY)) as another:
            seconds_until_unavailable(another, keyed(3), ANY)
        assert time.monotonic() - began < 6
        broker.resume()


def test_nobody_there_and_nobody_who_speaks_it():
    nobody = kafka_target({"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with closing(opened(nobody)) as sink:
        assert seconds_until_unavailable(sink, keyed(1), "(?i)connect") < 2
    with receiver() as found:
        for tls in (False, True):
            target = kafka_target({"bootstrap_servers": f"127.0.0.1:{found.port}", "tls": tls})
            with closing(opened(target, **HASTY)) as sink:
                assert seconds_until_unavailable(sink, keyed(1), ANY) < 4


def test_a_message_that_is_too_large_is_refused_and_holds_up_nothing(broker):
    with closing(opened(to_kafka(broker))) as sink:
        with pytest.raises(ActionRefused):
            sink.deliver(keyed(1, message="x" * 3_000_000))
        sink.deliver(keyed(3))
    assert broker.read("cars", 1) == [("k", "3")]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (3, ActionFailed, "there is no topic secret"),
        (29, ActionFailed, "TopicAuthorizationFailed"),
        (17, ActionFailed, "there is no topic secret"),
    ],
)
def test_what_the_broker_refuses(broker, code, error, words):
    with closing(opened(to_kafka(broker), broker_timeout_sec=2)) as sink:
        sink.deliver(keyed(1))
        broker.refuse("secret", code)
        with pytest.raises(error, match=words) as refused:
            sink.deliver(keyed(2, topic="secret"))
        assert type(refused.value) is error
        sink.deliver(keyed(3))


def test_a_broker_that_went_is_connected_to_again(broker):
    with closing(opened(to_kafka(broker), broker_timeout_sec=2)) as sink:
        sink.deliver(keyed(1))
        broker.down()
        # A topic that was not asked for yet is not taken for one that is not there.
        seconds_until_unavailable(sink, keyed(2, topic="new"), ANY)
        seconds_until_unavailable(sink, keyed(2), ANY)
        broker.up()
        sink.deliver(keyed(2))
        sink.deliver(keyed(3, topic="new"))
    assert broker.read("cars", 2)[:2] == [("k", "1"), ("k", "2")]


def test_a_call_that_hangs_is_cut():
    with silent() as port:
        target = kafka_target({"bootstrap_servers": f"127.0.0.1:{port}"})
        with closing(opened(target, broker_timeout_sec=30)) as sink:
            threading.Timer(0.3, sink.cut).start()
            assert seconds_until_unavailable(sink, keyed(1), "cut off") < 10


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xA9FEA9FE", "100.100.100.200"])
def test_nothing_is_connected_to_that_tells_a_machine_its_passwords(host):
    """However it is spelled, and whichever server of the cluster names it."""
    target = kafka_target({"bootstrap_servers": "127.0.0.1:1"})
    settings = dict(target.settings) | {"bootstrap_servers": f"{host}:80"}
    with closing(opened(Target("kafka", tuple(settings.items())))) as sink:
        assert seconds_until_unavailable(sink, keyed(1), "may not be connected to") < 2
    with closing(CheckedLoop()) as loop, pytest.raises(OSError, match="may not be connected to"):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, host, 80))


def test_the_librarys_log_is_left_to_others():
    """What it says of our own connections is told once, in our words; another user's is not ours to take."""
    nobody = kafka_target({"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    told: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("aiokafka"):
                told.append(record.getMessage())

    heard = Heard()
    logging.getLogger().addHandler(heard)
    try:
        with closing(opened(nobody)) as sink:
            seconds_until_unavailable(sink, keyed(1), "(?i)connect")
            other = threading.Thread(target=logging.getLogger("aiokafka.conn").error, args=("another's",))
            other.start()
            other.join()
        logging.getLogger("aiokafka.conn").error("after it was closed")
    finally:
        logging.getLogger().removeHandler(heard)
    assert told == ["another's", "after it was closed"]


def test_importing_the_driver_leaves_the_librarys_log_alone():
    script = "import siwatsystem.actions.kafka, logging; log = logging.getLogger('aiokafka')\n"
    script += "print(log.handlers, log.propagate)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.stdout == "[] True\n", done.stderr


@pytest.mark.parametrize("sasl", ["PLAIN", "SCRAM-SHA-256"])
def test_no_secret_is_repeated_by_a_server_that_says_it(sasl):
    with echoing() as port:
        login = {"username": "zqUser", "password": "zqSecret", "sasl": sasl}
        told = told_by_who_repeats_all(
            kafka_target({"bootstrap_servers": f"127.0.0.1:{port}", **login}), keyed(1)
        )
    assert "zq" not in told
