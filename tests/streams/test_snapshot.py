"""Snapshot cameras over real HTTP: paced, locked, slow, broken, too big, redirecting."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, descriptors, misbehaving, pools, reader_threads, snapshots
from tests.servers import until

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

MakePool = Callable[..., Pool]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with snapshots(tmp_path_factory.mktemp("camera")) as address:
        yield address


def jpeg(level: int = 120) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))
    assert done
    return data.tobytes()


def answer(body: bytes, head: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {head}", f"Content-Length: {len(body)}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answering(data: bytes) -> Callable[[socket.socket], None]:
    """Sends `data` to whoever asks."""

    def serve(connection: socket.socket) -> None:
        if connection.recv(65536):
            connection.sendall(data)

    return serve


def test_pictures_come_at_the_interval(pools: MakePool, camera: str) -> None:
    source = pools().acquire(SourceSpec(f"{camera}/snapshot", 200))
    frame = source.wait_newer(0, 20)
    assert frame is not None
    assert frame.image.shape == (720, 1280, 3)
    before, began = source.frames, time.monotonic()
    time.sleep(2)
    rate = (source.frames - before) / (time.monotonic() - began)
    assert 2.5 < rate < 5.6


@pytest.mark.parametrize("kind", ["basic", "digest"])
def test_a_locked_camera_takes_the_password_of_its_address(
    pools: MakePool, tmp_path: Path, kind: str
) -> None:
    pool = pools()
    options = ["--user", "user", "--password", "p@:/ss", *(["--digest"] if kind == "digest" else [])]
    with snapshots(tmp_path, *options) as address:
        host = address.removeprefix("http://")
        right = pool.acquire(SourceSpec(f"http://user:p%40%3A%2Fss@{host}/snapshot.jpg", 100))
        wrong = pool.acquire(SourceSpec(f"http://user:wr0ng@{host}/snapshot.jpg", 100))
        none = pool.acquire(SourceSpec(f"{address}/snapshot.jpg", 100))
        until(lambda: right.frames >= 3)
        for source in (wrong, none):
            error = until(lambda source=source: source.error)
            assert error.code == "stream_unauthorized"
            assert "wr0ng" not in error.message
        time.sleep(1)
        assert wrong.reconnects == 0


def test_a_password_is_not_sent_in_clear_to_a_camera_that_asks_for_a_digest(pools: MakePool) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        challenge = 'WWW-Authenticate: Digest realm="x", nonce="n", qop="auth"'
        connection.sendall(answer(b"", "401 Unauthorized", challenge))

    with misbehaving(serve) as port:
        source = pools().acquire(SourceSpec(f"http://user:s3cret@127.0.0.1:{port}/", 100))
        until(lambda: source.error)
    assert len(asked) >= 2
    assert not any(b"Basic" in request or b"s3cret" in request for request in asked)


@pytest.mark.parametrize(
    ("head", "code", "permanent"),
    [
        ("403 Forbidden", "stream_unauthorized", True),
        ("404 Not Found", "stream_unreachable", True),
        ("500 Oops", "stream_unreachable", False),
    ],
)
def test_a_refusal_is_told_as_what_it_is(pools: MakePool, head: str, code: str, permanent: bool) -> None:
    with misbehaving(answering(answer(b"no", head))) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        error = until(lambda: source.error)
        assert (error.code, error.permanent) == (code, permanent)


def _drip_head(connection: socket.socket) -> None:
    connection.recv(65536)
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def _drip_body(connection: socket.socket) -> None:
    connection.recv(65536)
    whole = answer(jpeg() * 10)
    connection.sendall(whole[:200])
    for byte in whole[200:]:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("serve", [_drip_head, _drip_body, _silent])
def test_a_slow_camera_is_given_up_at_the_deadline_and_left_at_once(
    pools: MakePool, serve: Callable[[socket.socket], None]
) -> None:
    pool = pools(stale_after_sec=30.0, streams={"read_timeout_sec": 1.5})
    before = descriptors()
    with misbehaving(serve) as port:
        began = time.monotonic()
        source = pool.acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        error = until(lambda: source.error, 10)
        assert 1.0 < time.monotonic() - began < 5
        assert error.code == "stream_unreachable"
        until(lambda: source.reconnects, 10)
        time.sleep(0.3)
        pool.release(source)
        until(lambda: not reader_threads(), 3)
    until(lambda: descriptors() <= before + 3, 5)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>no picture</html>", b"\xff\xd8\xff\xe0 not really" * 50],
    ids=["nothing", "html", "garbage"],
)
def test_what_is_no_picture_is_never_a_frame(pools: MakePool, body: bytes) -> None:
    with misbehaving(answering(answer(body))) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 50))
        error = until(lambda: source.error)
        assert error.code == "stream_unreachable"
        assert source.latest is None


def test_a_picture_that_breaks_off_is_never_a_frame(pools: MakePool) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    whole = answer(cv2.imencode(".jpg", noise)[1].tobytes())
    with misbehaving(answering(whole[: len(whole) * 2 // 3])) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 50))
        until(lambda: source.error)
        assert source.latest is None


def test_a_picture_that_is_too_big_is_not_read_to_its_end(pools: MakePool) -> None:
    sent: list[int] = []

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(300):
            connection.sendall(bytes(1_000_000))
            sent.append(1)

    with misbehaving(serve) as port:
        source = pools(streams={"snapshot_max_mb": 1, "first_retry_sec": 60.0}).acquire(
            SourceSpec(f"http://127.0.0.1:{port}/", 50)
        )
        error = until(lambda: source.error)
        assert "snapshot_max_mb" in error.message
        assert len(sent) < 60


def test_one_bad_picture_is_forgiven_and_many_are_a_loss(pools: MakePool) -> None:
    good, count = jpeg(), 0
    bad_from = 10_000

    def serve(connection: socket.socket) -> None:
        nonlocal count
        while connection.recv(65536):
            count += 1
            broken = count == 3 or count >= bad_from
            body = b"nothing" if broken else good
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with misbehaving(serve) as port:
        pool = pools()
        source = pool.acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        until(lambda: source.frames >= 6)
        assert [online for _, online, _ in pool.told] == [True]
        bad_from = count
        until(lambda: not source.online, 10)
        error = until(lambda: source.error)
        assert error.code == "stream_lost"


def test_a_camera_that_is_locked_while_it_is_watched_is_told_as_locked(pools: MakePool) -> None:
    good, locked = jpeg(), False

    def serve(connection: socket.socket) -> None:
        if connection.recv(65536):
            connection.sendall(answer(b"", "401 Unauthorized") if locked else answer(good))

    with misbehaving(serve) as port:
        pool = pools()
        source = pool.acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        until(lambda: source.online)
        locked = True
        until(lambda: len(pool.told) == 2)
        assert source.error is not None
        assert source.error.code == "stream_unauthorized"
        assert [code for _, _, code in pool.told] == [None, "stream_unauthorized"]


def test_the_same_picture_again_and_again_is_a_camera_that_works(pools: MakePool) -> None:
    with misbehaving(answering(answer(jpeg()))) as port:
        pool = pools(stale_after_sec=0.5)
        source = pool.acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        until(lambda: source.frames > 15)
        assert source.online
        assert source.reconnects == 0
        assert len(pool.told) == 1


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest", "stream_refused"),
        ("file:///etc/passwd", "stream_refused"),
        ("/again", "stream_unreachable"),
    ],
)
def test_redirects_are_judged_and_end(pools: MakePool, location: str, code: str) -> None:
    reply = answer(b"", "302 Found", f"Location: {location}")
    with misbehaving(answering(reply)) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        assert until(lambda: source.error).code == code


def test_a_redirect_is_followed_without_telling_the_password_to_others(pools: MakePool, camera: str) -> None:
    asked: list[bytes] = []

    def stranger(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(answer(b"", "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"'))

    pool = pools()
    with misbehaving(answering(answer(b"", "302 Found", f"Location: {camera}/snapshot"))) as port:
        source = pool.acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        until(lambda: source.online)
    with misbehaving(stranger) as other:
        there = answer(b"", "302 Found", f"Location: http://127.0.0.1:{other}/")
        with misbehaving(answering(there)) as port:
            source = pool.acquire(SourceSpec(f"http://user:s3cret@127.0.0.1:{port}/", 100))
            assert until(lambda: source.error).code == "stream_unauthorized"
    assert asked
    assert not any(b"Authorization" in request for request in asked)


def test_a_narrowed_network_is_not_left_through_a_name(pools: MakePool, camera: str) -> None:
    port = camera.rpartition(":")[2]
    pool = pools(streams={"networks": ("10.0.0.0/8",)})
    source = pool.acquire(SourceSpec(f"http://localhost:{port}/snapshot", 100))
    assert until(lambda: source.error).code == "stream_refused"


def test_the_interval_of_a_slow_camera_keeps_it_from_being_stale(pools: MakePool, camera: str) -> None:
    pool = pools(stale_after_sec=0.3)
    source = pool.acquire(SourceSpec(f"{camera}/snapshot", 700))
    until(lambda: source.frames >= 4)
    assert len(pool.told) == 1


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.99])
def test_a_picture_that_the_camera_itself_cut_short_is_never_a_frame(pools: MakePool, cut: float) -> None:
    ramp = np.tile(np.linspace(0, 255, 640, dtype=np.uint8)[None, :, None], (480, 1, 3))
    noise = np.random.default_rng(1).integers(0, 40, ramp.shape, np.uint8)
    whole = cv2.imencode(".jpg", ramp // 2 + noise)[1].tobytes()
    with misbehaving(answering(answer(whole[: int(len(whole) * cut)]))) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 50))
        until(lambda: source.error)
        assert source.latest is None


@pytest.mark.parametrize(
    ("head", "lines", "alive"),
    [
        ("200 OK", ("Age: 2",), True),
        ("200 OK", ("Age: 3600",), False),
        ("200 OK", ("Age: " + "9" * 5000,), False),
        ("200 OK", ("Age: soon",), True),
        ("200 OK", ("Date: Thu, 01 Jan 1970 00:00:00 GMT",), True),
        ("200 OK", ("Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT", "ETag: x"), True),
        ("304 Not Modified", ("ETag: x",), False),
        ("206 Partial Content", (), False),
    ],
)
def test_a_picture_that_a_cache_kept_is_none_of_now(
    pools: MakePool, head: str, lines: tuple[str, ...], alive: bool
) -> None:
    """Cameras whose clock was never set tell any date: that does not count."""
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(answer(jpeg(), head, *lines))

    with misbehaving(serve) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 50))
        until(lambda: source.error or source.frames > 2)
        assert source.online is alive
        assert (source.latest is not None) is alive
    assert b"cache-control: no-cache" in asked[0].lower()
    assert b"if-none-match" not in asked[-1].lower()


def test_a_length_that_is_no_number_anybody_can_read_is_an_error_of_the_camera(
    pools: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
    with misbehaving(answering(head + jpeg())) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 50))
        assert until(lambda: source.error).code == "stream_unreachable"
    assert "reading failed" not in caplog.text


def test_a_picture_is_as_old_as_the_beginning_of_its_answer(pools: MakePool) -> None:
    data = jpeg()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        whole = answer(data)
        connection.sendall(whole[: -len(data)])
        time.sleep(1.0)
        connection.sendall(data)

    with misbehaving(serve) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/", 100))
        frame = source.wait_newer(0, 10)
        assert frame is not None
        assert 0.9 < time.monotonic() - frame.monotonic < 6
        assert 0.9 < time.time() - frame.captured_at < 6
