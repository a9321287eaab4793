"""Archives name the servers that actions go to: none may lead to what tells a machine its passwords."""

import socket
from typing import Any

import pytest
from pydantic import ValidationError

from siwatsystem.actions import targets
from siwatsystem.actions.registry import open_sink
from siwatsystem.actions.targets import reached, redis_target
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import TargetUnavailable

LITERALS = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "100.100.100.200",
    "fe80::1",
    "fd00:ec2::254",
    "0.0.0.0",  # what is refused
]
NUMBERS = ["2852039166", "0xA9FEA9FE", "169.254.43518", "0251.0376.0251.0376"]


def config(host: str, port: int = 6379) -> dict[str, Any]:
    more = {"url": "http://receiver.test/", "secret": None, "signed": False}
    return {"host": host, "port": port, "database": "d", "username": "me", "password": "p", **more}


@pytest.mark.parametrize("host", LITERALS)
def test_an_archive_that_names_one_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="may not be connected to"):
        redis_target({"host": host, "port": 80})


@pytest.mark.parametrize("kind", ["redis", "postgresql", "mqtt", "webhook"])
@pytest.mark.parametrize("host", [*LITERALS, *NUMBERS])
def test_no_driver_gets_one_in_any_spelling(kind: Any, host: str) -> None:
    with pytest.raises(TargetUnavailable, match="may not be connected to"):
        open_sink(kind, config(host), OutboxSettings())


def test_drivers_get_an_address_and_no_name_that_may_change_meanwhile() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # ::1 too where the machine has it, and nobody listens there.
        assert reached(config("localhost", port), 5.0) == config("127.0.0.1", port)
    assert reached(config("10.0.0.5"), 5.0)["host"] == "10.0.0.5"


def test_the_drivers_are_given_that_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = config("localhost", listener.getsockname()[1])
        redis: Any = open_sink("redis", there, OutboxSettings())
        postgresql: Any = open_sink("postgresql", there, OutboxSettings())
        others: list[Any] = [open_sink(kind, there, OutboxSettings()) for kind in ("mqtt", "webhook")]
    assert [each._address for each in others] == ["127.0.0.1", "127.0.0.1"]
    assert redis._client.connection_pool.connection_kwargs["host"] == "127.0.0.1"
    assert postgresql._database._config["hostaddr"] == "127.0.0.1"
    assert postgresql._database._config["host"] == "localhost"
    local: Any = open_sink("postgresql", config("/run/postgresql"), OutboxSettings())
    assert "hostaddr" not in local._database._config


@pytest.mark.parametrize("order", [1, -1])
def test_one_forbidden_address_among_a_names_refuses_it(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("127.0.0.1", "169.254.169.254")
    ]
    monkeypatch.setattr(targets.socket, "getaddrinfo", lambda *_, **__: answers[::order])
    with pytest.raises(TargetUnavailable, match="may not be connected to"):
        reached(config("mixed.test"), 1.0)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a,b", "x" * 300, "ü" * 80])
def test_a_name_without_an_address_is_an_outage(host: str) -> None:
    with pytest.raises(TargetUnavailable, match="no such host"):
        reached(config(host), 1.0)


def test_a_socket_of_this_machine_is_left_as_it_is() -> None:
    assert reached(config("/run/postgresql"), 1.0)["host"] == "/run/postgresql"
