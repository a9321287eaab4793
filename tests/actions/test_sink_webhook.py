"""The driver of webhooks against a real receiver: what comes of each answer."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from standardwebhooks import Webhook as Standard

from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.targets import Target
from siwatsystem.errors import ActionRefused, TargetUnavailable
from tests.actions.sinks import (
    ANY,
    HASTY,
    SECRET,
    echoing,
    job,
    opened,
    seconds_until_unavailable,
    silent,
    told_by_who_repeats_all,
)
from tests.brokers import Receiver, authority, free_port, receiver


def hook(receiving: Receiver, path: str = "/hook", secret: str | None = SECRET) -> Target:
    return webhook_target(f"http://localhost:{receiving.port}{path}", secret, secret is not None)


@pytest.fixture
def receiving() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def test_a_message_is_signed_for_the_standards_library_on_a_connection_that_is_kept(receiving):
    with closing(opened(hook(receiving, "/hook?a=1"))) as sink:
        for number in (1, 2, 3):
            sink.deliver(job("webhook", number, message=json.dumps({"n": number})))
    assert receiving.connections == 1
    for number, (path, headers, body) in enumerate(receiving.got, 1):
        assert path == "/hook?a=1"
        assert headers["webhook-id"] == f"key-{number}"
        assert headers["content-type"] == "application/json"
        assert headers["host"] == f"localhost:{receiving.port}"
        assert headers["user-agent"].startswith("siwatsystem/")
        verifier = Standard(SECRET.encode())
        assert verifier.verify(body, headers) == {"n": number}


def test_unsigned_and_plain(receiving):
    with closing(opened(hook(receiving, secret=None))) as sink:
        sink.deliver(job("webhook", message="plain ü"))
    _, headers, body = receiving.got[0]
    assert (body.decode(), headers["content-type"]) == ("plain ü", "text/plain; charset=utf-8")
    assert "webhook-signature" not in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_what_counts_as_taken(receiving, status):
    receiving.status = status
    with closing(opened(hook(receiving))) as sink:
        sink.deliver(job("webhook"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422, 301, 307])
def test_what_is_refused_for_good(receiving, status):
    receiving.status = status
    with closing(opened(hook(receiving))) as sink, pytest.raises(ActionRefused) as refused:
        sink.deliver(job("webhook"))
    assert refused.value.reason == f"status {status}"
    # Where it would lead is never asked.
    assert [path for path, _, _ in receiving.got] == ["/hook"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_is_tried_again(receiving, status):
    receiving.status = status
    with closing(opened(hook(receiving))) as sink, pytest.raises(TargetUnavailable, match=str(status)):
        sink.deliver(job("webhook"))


def test_a_connection_that_was_closed_meanwhile_is_made_anew(receiving):
    with closing(opened(hook(receiving))) as sink:
        sink.deliver(job("webhook", 1))
        there: Any = sink
        socket.socket.shutdown(there._link, socket.SHUT_RDWR)
        sink.deliver(job("webhook", 2))
    assert len(receiving.got) == 2


def test_a_late_or_dripping_answer_ends_in_time(receiving):
    receiving.wait_sec = 3
    with closing(opened(hook(receiving), **HASTY)) as sink:
        assert seconds_until_unavailable(sink, job("webhook"), "no answer within 0.5 s") < 2.5
    receiving.wait_sec, receiving.drip = 0, True
    with closing(opened(hook(receiving), **HASTY)) as sink:
        assert seconds_until_unavailable(sink, job("webhook"), "no answer within 0.5 s") < 2.5


def test_nobody_there():
    with closing(opened(webhook_target(f"http://127.0.0.1:{free_port()}/", None, False))) as sink:
        assert seconds_until_unavailable(sink, job("webhook"), "refused") < 2


def test_without_a_secret_nothing_is_sent(receiving):
    target = webhook_target(f"http://localhost:{receiving.port}/x", None, True)
    with pytest.raises(TargetUnavailable, match=r"outbox\.webhook_secrets"):
        opened(target)
    own = {f"http://localhost:{receiving.port}": SECRET}
    with closing(opened(target, webhook_secrets=own)) as sink:
        sink.deliver(job("webhook", message="{}"))
    _, headers, body = receiving.got[0]
    assert Standard(SECRET.encode()).verify(body, headers) == {}


def test_certificates_are_held_against_the_name(tmp_path, monkeypatch):
    trusted = authority(tmp_path)
    with receiver(context=trusted.server_context()) as receiving:
        by_name = webhook_target(f"https://localhost:{receiving.port}/", SECRET, True)
        by_number = webhook_target(f"https://127.0.0.1:{receiving.port}/", SECRET, True)
        with closing(opened(by_name)) as sink:
            seconds_until_unavailable(sink, job("webhook"), "CERTIFICATE_VERIFY_FAILED")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted.ca))
        with closing(opened(by_name)) as sink:
            sink.deliver(job("webhook"))
        with closing(opened(by_number)) as sink:
            seconds_until_unavailable(sink, job("webhook"), "IP address mismatch")
    assert len(receiving.got) == 1


def test_a_call_that_hangs_is_cut():
    with silent() as port:
        target = webhook_target(f"http://127.0.0.1:{port}/", None, False)
        with closing(opened(target, webhook_timeout_sec=30)) as sink:
            threading.Timer(0.3, sink.cut).start()
            assert seconds_until_unavailable(sink, job("webhook"), ANY) < 10


def test_no_secret_is_repeated_by_a_server_that_says_it():
    with echoing() as port:
        target = webhook_target(f"http://127.0.0.1:{port}/zqPath?zqQuery", SECRET, True)
        told = told_by_who_repeats_all(target, job("webhook"))
    assert "zq" not in told
    assert SECRET not in told
