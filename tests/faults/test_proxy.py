"""The fault proxy does what it says: a fault that is none would prove nothing."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import FaultProxy

PAYLOAD = bytes(range(256)) * 400


@pytest.fixture
def server() -> Iterator[int]:
    """Sends PAYLOAD to whoever has said something."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1)
                    connection.sendall(PAYLOAD)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def fetch(proxy: FaultProxy, timeout: float = 20.0) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout) as connection:
        connection.sendall(b"x")
        out = b""
        while data := connection.recv(65536):
            out += data
        return out


def test_without_a_fault_it_changes_nothing(server: int):
    with FaultProxy(server) as proxy:
        assert fetch(proxy) == PAYLOAD
        assert proxy.connections == 1


def test_latency_delays_each_piece(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.latency_sec = 0.3
        began = time.monotonic()
        assert fetch(proxy) == PAYLOAD
        assert time.monotonic() - began >= 0.6  # there and back


def test_a_rate_is_kept(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.rate = len(PAYLOAD) * 2
        began = time.monotonic()
        assert fetch(proxy) == PAYLOAD
        assert time.monotonic() - began >= 0.45


def test_it_truncates_to_the_byte(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.truncate_after = 1000
        assert fetch(proxy) == PAYLOAD[:1000]


def test_it_flips_about_as_many_bits_as_asked_for(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.flip_one_of = 1000
        got = fetch(proxy)
    assert len(got) == len(PAYLOAD)
    flipped = sum((a ^ b).bit_count() for a, b in zip(got, PAYLOAD, strict=True))
    assert 60 <= flipped <= 140


def test_a_black_hole_gives_nothing_and_closes_nothing(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.black_hole = True
        with pytest.raises(TimeoutError):
            fetch(proxy, timeout=0.5)
        proxy.none()
        assert fetch(proxy) == PAYLOAD


def test_a_cut_ends_what_is_open(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.rate = 1000
        cutter = threading.Timer(0.5, proxy.cut)
        cutter.start()
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert len(fetch(proxy)) < len(PAYLOAD)
        assert time.monotonic() - began < 15


def test_refused_connections_are_closed(server: int):
    with FaultProxy(server) as proxy:
        proxy.faults.refuse = True
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            assert fetch(proxy) == b""
