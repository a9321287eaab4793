"""The driver of MQTT against a real broker: what comes of each answer."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.actions.brokers import mqtt_target
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.targets import Target
from siwatsystem.errors import ActionFailed, ActionRefused, TargetUnavailable
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
from tests.brokers import Mosquitto, Subscriber, authority, free_port, mosquitto, receiver
from tests.servers import until


def to_mqtt(broker: Mosquitto, **settings: Any) -> Target:
    return mqtt_target({"host": "127.0.0.1", "port": broker.port, **settings})


def said(number: int, **payload: Any) -> StoredJob:
    return job("mqtt_publish", number, **{"topic": "cars", "retain": False, "message": str(number)} | payload)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as found:
        yield found


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_messages_arrive_in_order_and_retained_ones_stay(broker, version):
    listener = Subscriber(broker.port)
    with closing(opened(to_mqtt(broker, version=version))) as sink:
        for number in range(50):
            sink.deliver(said(number))
        sink.deliver(said(50, topic="site/ü", message="kept ü", retain=True))
    until(lambda: len(listener.got) == 51)
    listener.close()
    assert [message for _, message in listener.got[:50]] == [str(number) for number in range(50)]
    late = Subscriber(broker.port)
    until(lambda: ("site/ü", "kept ü") in late.got)
    late.close()


def test_a_restarted_broker_is_connected_to_again(broker):
    with closing(opened(to_mqtt(broker))) as sink:
        sink.deliver(said(1))
        broker.kill()
        with pytest.raises(TargetUnavailable):
            sink.deliver(said(2))
        broker.start()
        sink.deliver(said(2))


def test_a_broker_that_hangs_costs_one_time_out(broker):
    with closing(opened(to_mqtt(broker), broker_timeout_sec=1.5)) as sink:
        sink.deliver(said(1))
        broker.pause()
        assert seconds_until_unavailable(sink, said(2), "no answer within 1.5 s") < 4.5
        with closing(opened(to_mqtt(broker), **HASTY)) as another:
            assert seconds_until_unavailable(another, said(2), "no answer within 0.5 s") < 2.5
        broker.resume()


def test_a_login_that_is_refused_is_told(tmp_path):
    with mosquitto(tmp_path, lines="allow_anonymous false") as broker:
        for version in ("5", "3.1.1"):
            to = to_mqtt(broker, version=version, username="u", password="zqSecret")
            with closing(opened(to)) as sink, pytest.raises(TargetUnavailable) as refused:
                sink.deliver(said(1))
            assert re.search("refuses the connection: Not authorized", str(refused.value))
            assert "zqSecret" not in str(refused.value)


def test_a_message_that_may_not_be_published_is_refused(tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite cars\n")
    lines = f"allow_anonymous true\nacl_file {rules}"
    with mosquitto(tmp_path, lines=lines) as broker, closing(opened(to_mqtt(broker))) as sink:
        sink.deliver(said(1))
        with pytest.raises(ActionFailed, match="Not authorized"):
            sink.deliver(said(2, topic="secret"))
        sink.deliver(said(3))


def test_a_message_that_is_too_large_is_refused_and_holds_up_nothing(tmp_path):
    lines = "allow_anonymous true\nmax_packet_size 1000"
    with mosquitto(tmp_path, lines=lines) as broker, closing(opened(to_mqtt(broker))) as sink:
        with pytest.raises(ActionRefused, match="up to 1000 bytes"):
            sink.deliver(said(1, message="x" * 2000))
        sink.deliver(said(2))
        with pytest.raises(ActionRefused):
            sink.deliver(said(3, topic="x" * 70_000, message=""))
        sink.deliver(said(4))


def test_tls_is_held_against_the_name(tmp_path, monkeypatch):
    trusted = authority(tmp_path)
    tls = f"cafile {trusted.ca}\ncertfile {trusted.certificate}\nkeyfile {trusted.key}"
    with mosquitto(tmp_path, tls=tls) as broker:
        by_name = to_mqtt(broker, host="localhost", tls=True)
        with closing(opened(by_name)) as sink:
            seconds_until_unavailable(sink, said(1), "CERTIFICATE_VERIFY_FAILED")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted.ca))
        with closing(opened(by_name)) as sink:
            for number in range(20):
                sink.deliver(said(number))
        with closing(opened(to_mqtt(broker, tls=True))) as sink:
            seconds_until_unavailable(sink, said(1), "IP address mismatch")


def test_nobody_there_and_nobody_who_speaks_it():
    with closing(opened(mqtt_target({"host": "127.0.0.1", "port": free_port()}))) as sink:
        assert seconds_until_unavailable(sink, said(1), "refused") < 2
    with silent() as port:
        for tls in (False, True):
            target = mqtt_target({"host": "127.0.0.1", "port": port, "tls": tls})
            with closing(opened(target, **HASTY)) as sink:
                assert seconds_until_unavailable(sink, said(1), ANY) < 3
    with receiver() as found:
        target = mqtt_target({"host": "127.0.0.1", "port": found.port})
        with closing(opened(target, **HASTY)) as sink:
            assert seconds_until_unavailable(sink, said(1), ANY) < 3


def test_a_call_that_hangs_is_cut():
    with silent() as port:
        target = mqtt_target({"host": "127.0.0.1", "port": port})
        with closing(opened(target, broker_timeout_sec=30)) as sink:
            threading.Timer(0.3, sink.cut).start()
            assert seconds_until_unavailable(sink, said(1), "closed") < 10


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_no_secret_is_repeated_by_a_server_that_says_it(version):
    with echoing() as port:
        login = {"username": "zqUser", "password": "zqSecret", "version": version}
        told = told_by_who_repeats_all(mqtt_target({"host": "127.0.0.1", "port": port, **login}), said(1))
    assert "zq" not in told
