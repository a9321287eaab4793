"""Where the server listens, and how it ends."""

import logging
import os
import socket
import threading
import time
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import _TrustedHosts

from siwatsystem import server
from siwatsystem.config import Settings
from siwatsystem.errors import InvalidSetting


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, "127.0.0.1"),
        ({"control_token": "a-token-of-some-length-0123456789"}, "0.0.0.0"),
        ({"host": "192.0.2.1"}, "192.0.2.1"),
        ({"host": "192.0.2.1", "control_token": "a-token-of-some-length-0123456789"}, "192.0.2.1"),
    ],
)
def test_it_listens_on_loopback_until_a_token_guards_it(values: dict[str, object], found: str):
    assert server.address(settings(**values)) == found


def test_a_listener_has_the_limits_of_the_settings():
    limits = {"send_timeout_sec": 3.5, "send_buffer_kb": 32}
    with server.listen("127.0.0.1", settings(port=0, websocket=limits)) as listener:
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                # Linux tells twice what was asked for.
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 32 * 1024
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3500
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_proxies_are_given_as_the_server_understands_them():
    given = server.trusted(settings(proxies=["127.0.0.1", "172.17.0.1/16", "::1"]))
    hosts: Any = _TrustedHosts(given)
    found = [each in hosts for each in ("127.0.0.1", "172.17.5.5", "::1", "172.18.0.1", "127.0.0.2")]
    assert found == [True, True, True, False, False]


def test_a_port_that_is_taken_is_named():
    with server.listen("127.0.0.1", settings(port=0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            InvalidSetting, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"
        ):
            server.listen("127.0.0.1", settings(port=port))


def test_an_address_of_another_machine_is_named():
    with pytest.raises(InvalidSetting, match=r"cannot listen on 192\.0\.2\.1:0: "):
        server.listen("192.0.2.1", settings(port=0))


def test_leaving_raises_where_every_thread_has_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_lingering", list)
    with pytest.raises(SystemExit) as ended:
        server.leave(3)
    assert ended.value.code == 3


@pytest.mark.parametrize("daemon", [False, True])
def test_leaving_ends_the_process_where_a_thread_does_not_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, daemon: bool
):
    class Exited(Exception):
        pass

    def leave_at_once(status: int) -> None:
        raise Exited(status)

    monkeypatch.setattr(server, "LINGER_SEC", 0.05)
    monkeypatch.setattr(os, "_exit", leave_at_once)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait, args=(10,), name="stubborn", daemon=daemon)
    thread.start()
    try:
        with caplog.at_level(logging.WARNING), pytest.raises(Exited) as ended:
            server.leave(4)
    finally:
        hold.set()
        thread.join()
    assert ended.value.args == (4,)
    assert "stubborn" in caplog.text


def test_leaving_waits_for_threads_that_are_about_to_end(monkeypatch: pytest.MonkeyPatch):
    answers = [[threading.current_thread()], [threading.current_thread()], []]
    monkeypatch.setattr(server, "_lingering", lambda: answers.pop(0))
    monkeypatch.setattr(server, "LINGER_SEC", 5.0)
    began = time.monotonic()
    with pytest.raises(SystemExit):
        server.leave(0)
    assert answers == []
    assert time.monotonic() - began < 5
