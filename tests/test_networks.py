"""Which addresses no server may have, whichever way they are written."""

import socket
import threading
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from siwatsystem import networks
from siwatsystem.config import ModelSettings, StreamSettings
from siwatsystem.download import Download
from siwatsystem.errors import ModelRefused, StreamRefused
from siwatsystem.networks import is_forbidden, literal_ip, reached
from siwatsystem.streams.address import check_ip

FORBIDDEN = [
    "169.254.169.254",
    "224.0.0.1",
    "0.0.0.0",
    "::",
    "fe80::1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::e000:1",
    "2002:a9fe:a9fe::1",
    "64:ff9b:1::a9fe:a9fe",
    "::a9fe:a9fe",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "::ffff:168.63.129.16",
]


@pytest.mark.parametrize("ip", FORBIDDEN)
def test_cameras_and_archives_are_kept_from_the_same_addresses(ip: str, tmp_path: Path) -> None:
    assert is_forbidden(ip_address(ip))
    with pytest.raises(StreamRefused):
        check_ip(ip_address(ip), StreamSettings())
    host = f"[{ip}]" if ":" in ip else ip
    with pytest.raises(ModelRefused):
        Download(f"http://{host}:9/a.mpta", tmp_path / "a", ModelSettings()).run()


@pytest.mark.parametrize(
    ("ip", "there"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("fd00::7", "fd00::7"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.168.0.1", "192.168.0.1"),
        ("64:ff9b::c0a8:1", "192.168.0.1"),
        ("2002:c0a8:1::1", "192.168.0.1"),
    ],
)
def test_ordinary_addresses_are_allowed_and_known_for_where_they_lead(ip: str, there: str) -> None:
    assert not is_forbidden(ip_address(ip))
    assert reached(ip_address(ip)) == ip_address(there)


@pytest.mark.parametrize(("host", "ip"), [("10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1")])
def test_an_address_is_known_as_one(host: str, ip: str) -> None:
    assert literal_ip(host) == ip_address(ip)
    assert literal_ip("cam.example") is None


def test_a_resolver_that_does_not_answer_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch):
    go = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: go.wait(30) and [])
    began = time.monotonic()
    with pytest.raises(OSError, match=r"slow\.example was not resolved within 0\.05 s"):
        networks.addresses_of("slow.example", 80, 0.05)
    assert time.monotonic() - began < 20
    go.set()


def test_addresses_of_a_name():
    assert "127.0.0.1" in networks.addresses_of("localhost", 80, 20.0)
    with pytest.raises(OSError, match="no such host"):
        networks.addresses_of("no-such-host.invalid", 80, 20.0)
