"""Hostile and honest RTSP servers that redirect."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, RtspServer, misbehaving, pools, rtsp_of_module, rtsp_server
from tests.servers import until
from tests.streams.scripted_rtsp import Scripted, answer

__all__ = ["pools", "rtsp_of_module", "rtsp_server"]

pytestmark = pytest.mark.xdist_group("streams")

MakePool = Callable[..., Pool]


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(misbehaving(server))


Serve = Callable[[Callable[[socket.socket], None]], int]


def moved(there: str, status: str = "302 Found") -> bytes:
    return answer("{cseq}", "", status, f"Location: {there}")


class Stranger:
    """Counts what reaches it."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections = 0

    def __call__(self, connection: socket.socket) -> None:
        self.connections += 1
        while data := connection.recv(65536):
            self.heard += data


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_redirect_to_another_network_is_refused_before_a_byte_is_sent(
    pools: MakePool, serve: Serve, method: str
) -> None:
    stranger = Stranger()
    there = serve(stranger)
    camera = Scripted(instead={method: moved(f"rtsp://127.0.0.2:{there}/x")})
    with socket.create_server(("127.0.0.2", there)) as listener:
        threading.Thread(target=_accept, args=(listener, stranger), daemon=True).start()
        port = serve(camera)
        pool = pools(streams={"networks": ("127.0.0.1/32",)})
        source = pool.acquire(SourceSpec(f"rtsp://user:s3cret@127.0.0.1:{port}/x"))
        error = until(lambda: source.error, 20)
        time.sleep(0.3)
        listener.close()
    # Asked once more, with DESCRIBE, it says where to or not; to SETUP and PLAY FFmpeg itself follows none.
    assert error.code == ("stream_refused" if method == "DESCRIBE" else "stream_unreachable")
    assert stranger.heard == b""


def _accept(listener: socket.socket, stranger: Stranger) -> None:
    try:
        while True:
            with listener.accept()[0] as connection:
                stranger(connection)
    except OSError:
        pass


def test_a_redirect_to_a_link_local_address_is_refused(pools: MakePool, serve: Serve) -> None:
    port = serve(Scripted(instead={"DESCRIBE": moved("rtsp://169.254.169.254/latest/meta-data")}))
    source = pools().acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
    assert until(lambda: source.error, 15).code == "stream_refused"
    assert "169.254.169.254" in str(source.error)


@pytest.mark.parametrize("there", ["http://127.0.0.1/x", "file:///etc/passwd", "nonsense", "rtsp://"])
def test_a_redirect_to_what_is_no_rtsp_address_is_refused(pools: MakePool, serve: Serve, there: str) -> None:
    port = serve(Scripted(instead={"DESCRIBE": moved(there)}))
    source = pools().acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
    # Some of them FFmpeg itself does not take.
    assert until(lambda: source.error, 15).code in ("stream_refused", "stream_unreachable")
    assert source.latest is None


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "305 Use Proxy"])
def test_an_honest_redirect_is_followed_without_the_password(
    pools: MakePool, serve: Serve, rtsp_server: RtspServer, status: str
) -> None:
    port = serve(Scripted(instead={"DESCRIBE": moved(rtsp_server.url(), status)}))
    source = pools().acquire(SourceSpec(f"rtsp://user:s3cret@127.0.0.1:{port}/x"))
    until(lambda: source.online, 20)


def test_the_password_is_for_the_host_it_was_given_for(pools: MakePool, serve: Serve) -> None:
    asked: list[Scripted] = []

    def locked() -> Scripted:
        challenge = answer("{cseq}", "", "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"')
        asked.append(Scripted(instead={"DESCRIBE": challenge, "OPTIONS": challenge}))
        return asked[-1]

    there = serve(locked())
    port = serve(Scripted(instead={"DESCRIBE": moved(f"rtsp://127.0.0.1:{there}/x")}))
    source = pools().acquire(SourceSpec(f"rtsp://user:s3cret@127.0.0.1:{port}/x"))
    assert until(lambda: source.error, 15).code == "stream_unauthorized"
    assert asked[0].asked
    secret = base64.b64encode(b"user:s3cret").decode()
    assert not any(secret in one or "Authorization" in one for one in asked[0].asked)


def test_redirects_in_a_circle_end(pools: MakePool, serve: Serve) -> None:
    camera = Scripted()
    port = serve(camera)
    camera.instead = {"DESCRIBE": moved(f"rtsp://127.0.0.1:{port}/again")}
    source = pools().acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
    error = until(lambda: source.error, 20)
    assert "redirects more than" in error.message


def test_an_answer_to_the_question_where_to_that_never_ends_is_not_read_for_ever(
    pools: MakePool, serve: Serve
) -> None:
    """FFmpeg is redirected; asked once more, the camera sends a head without end."""
    times: list[int] = []

    def server(connection: socket.socket) -> None:
        times.append(1)
        if len(times) == 1:
            Scripted(instead={"OPTIONS": moved("rtsp://127.0.0.1:1/x")})(connection)
            return
        connection.recv(65536)
        while True:
            connection.sendall(b"X: " + b"x" * 4000 + b"\r\n")

    source = pools().acquire(SourceSpec(f"rtsp://127.0.0.1:{serve(server)}/x"))
    assert "subscribe the address" in until(lambda: source.error, 15).message


def test_many_paths_of_one_server_open_side_by_side(pools: MakePool, rtsp_server: RtspServer) -> None:
    pool = pools(max_streams=20)
    sources = [pool.acquire(SourceSpec(f"{rtsp_server.url()}?{number}")) for number in range(8)]
    good = [pool.acquire(SourceSpec(rtsp_server.url(mount))) for mount in ("cam", "other")]
    for source in good:
        until(lambda source=source: source.online, 20)
    assert all(source.error is None or source.error.code != "stream_refused" for source in sources)
