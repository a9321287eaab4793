"""What looks alive is alive: frames come only from pictures that were delivered and newly decoded."""

import socket
import time
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from prometheus_client import REGISTRY

from siwatsystem.streams.arrivals import Arrivals
from siwatsystem.streams.pool import Source
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, misbehaving, pools
from tests.servers import until
from tests.streams.scripted_rtsp import (
    Play,
    Rtp,
    Scripted,
    Unit,
    access_units,
    interleaved,
    rtcp_only,
    silent,
)

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

MakePool = Callable[..., Pool]


def number_of(source: Source) -> int:
    """The number of the newest picture, as its brightness tells."""
    frame = source.latest
    assert frame is not None
    return round((16 + float(frame.image.mean()) * 219 / 255 - 30) / 4)


def counted(source: Source, name: str) -> float:
    return REGISTRY.get_sample_value(f"siwat_{name}_total", {"source": source.spec.label}) or 0.0


def playing(units: list[Unit], then: Callable[[socket.socket, Rtp], None]) -> Play:
    """Sends `units` at 20 a second, then what `then` does."""

    def play(connection: socket.socket) -> None:
        rtp = Rtp(connection)
        for unit in units:
            rtp.send(unit.data, unit.number / 20)
            time.sleep(0.05)
        then(connection, rtp)

    return play


def _only_rtcp(connection: socket.socket, _: Rtp) -> None:
    rtcp_only(connection)


def _only_audio(connection: socket.socket, _: Rtp) -> None:
    while True:
        connection.sendall(interleaved(2, b"\x80\x00" + bytes(170)))
        time.sleep(0.05)


def _no_keyframe(_: socket.socket, rtp: Rtp) -> None:
    """Packets of pictures whose keyframe never comes."""
    units = access_units(45, range(1))[1:]
    for index in range(100_000):
        rtp.send(units[index % len(units)].data[:12] + bytes([index % 251 + 1]) * 40, 100 + index / 20)
        time.sleep(0.05)


def _same_packet(connection: socket.socket, _: Rtp) -> None:
    """A sender that repeats what it sent last."""
    key = access_units(1, range(1))[0].data
    while True:
        Rtp(connection).send(key, 500.0)
        time.sleep(0.05)


@pytest.mark.parametrize("then", [_only_rtcp, _only_audio, _no_keyframe, _same_packet])
def test_traffic_without_new_pictures_is_no_life(
    pools: MakePool, then: Callable[[socket.socket, Rtp], None]
) -> None:
    with misbehaving(Scripted(playing(access_units(40, range(0, 40, 10)), then))) as port:
        source = pools(stale_after_sec=1.5).acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
        until(lambda: source.online, 15)
        until(lambda: source.error, 15)
        assert source.error is not None
        assert source.error.code == "stream_lost"
        assert not source.online
        until(lambda: source.reconnects, 10)


def test_only_keyframes_wanted_and_none_comes(pools: MakePool) -> None:
    units = access_units(300, range(0, 20, 10))
    with misbehaving(Scripted(playing(units, lambda connection, _: silent(connection)))) as port:
        pool = pools(stale_after_sec=1.5, streams={"decode": "keyframes"})
        source = pool.acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
        until(lambda: source.online, 15)
        until(lambda: source.error, 15)
        assert source.error is not None
        assert (source.error.code, source.online) == ("stream_lost", False)


def test_a_packet_that_is_sent_twice_is_one_frame(pools: MakePool) -> None:
    def play(connection: socket.socket) -> None:
        rtp = Rtp(connection)
        for unit in access_units(200, range(200)):
            for _ in range(2):
                rtp.send(unit.data, unit.number / 20)
            time.sleep(0.05)

    with misbehaving(Scripted(play)) as port:
        source = pools(streams={"decode": "all"}).acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
        seen: list[int] = []
        source.add_listener(lambda: seen.append(number_of(source)))
        until(lambda: len(seen) > 20, 20)
        # The very first packets may come without a time stamp.
        assert all(a != b for a, b in pairwise(seen[2:]))


def test_a_picture_that_the_decoder_held_back_is_as_old_as_its_packet(pools: MakePool) -> None:
    """B-frames: what was held when the network stalled comes out with the first packet afterwards."""
    paused: list[float] = []

    def play(connection: socket.socket) -> None:
        rtp = Rtp(connection)
        units = access_units(200, range(1), bframes=3)
        for index, unit in enumerate(units):
            rtp.send(unit.data, unit.number / 20)
            if index == 61:  # FFmpeg gives a packet once the next one begins, and the decoder holds one more
                paused.append(time.monotonic())
                time.sleep(1.5)
                paused.append(time.monotonic())
            time.sleep(0.05)

    with misbehaving(Scripted(play)) as port:
        pool = pools(stale_after_sec=5.0, streams={"decode": "all", "read_timeout_sec": 5.0})
        source = pool.acquire(SourceSpec(f"rtsp://127.0.0.1:{port}/x"))
        seen: list[tuple[float, float, float]] = []

        def listener() -> None:
            frame = source.latest
            assert frame is not None
            seen.append((time.monotonic(), frame.monotonic, frame.captured_at))

        source.add_listener(listener)
        until(lambda: seen and len(paused) == 2 and seen[-1][1] > paused[1] + 1, 25)
    first = next(one for one in seen if one[0] > paused[1])
    assert first[1] < paused[0] + 0.5
    moments = [one[1] for one in seen]
    assert all(a < b for a, b in pairwise(moments))
    assert time.time() - time.monotonic() == pytest.approx(first[2] - first[1], abs=0.5)


def test_pictures_are_later_than_the_ones_before_whatever_the_order_of_their_packets() -> None:
    arrivals = Arrivals()
    for pts, at in ((0, 1.0), (3, 2.0), (1, 3.0), (2, 4.0)):
        arrivals.note(pts, (100 + at, at))
    given = [arrivals.of(pts, (200.0, 100.0)) for pts in (0, 1, 2, 3)]
    assert [monotonic for _, monotonic in given] == pytest.approx([1.0, 3.0, 4.0, 4.001])
    assert [wall - monotonic for wall, monotonic in given] == pytest.approx([100.0] * 4)
    assert arrivals.of(None, (200.0, 100.0)) == (200.0, 100.0)
    assert arrivals.of(77, (201.0, 101.0)) == (201.0, 101.0)


def test_what_waits_for_pictures_is_bounded() -> None:
    arrivals = Arrivals()
    for pts in range(1000):
        arrivals.note(pts, (0.0, float(pts)))
    assert arrivals.of(0, (5.0, 5.0)) == (5.0, 5.0)


def _multipart(pictures: list[bytes]) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n")
        for index in range(100_000):
            data = pictures[index % len(pictures)]
            head = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            connection.sendall(head + data + b"\r\n")
            time.sleep(0.05)

    return serve


def noisy_jpeg() -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def test_half_a_picture_of_a_multipart_stream_is_never_a_frame(pools: MakePool) -> None:
    whole = noisy_jpeg()
    with misbehaving(_multipart([whole[: len(whole) // 2]])) as port:
        source = pools(stale_after_sec=1.5).acquire(SourceSpec(f"http://127.0.0.1:{port}/"))
        until(lambda: source.error, 15)
        assert source.latest is None
        assert counted(source, "source_decode_errors") > 0


def test_whole_pictures_between_halves_are_shown(pools: MakePool) -> None:
    whole = noisy_jpeg()
    with misbehaving(_multipart([whole, whole[: len(whole) // 2], whole])) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/"))
        until(lambda: source.frames > 20, 15)
        assert counted(source, "source_decode_errors") > 5
        assert source.online


def test_a_step_of_the_wall_clock_changes_nothing_but_the_time_that_is_told(
    pools: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with misbehaving(_multipart([noisy_jpeg()])) as port:
        pool = pools(stale_after_sec=1.0)
        source = pool.acquire(SourceSpec(f"http://127.0.0.1:{port}/"))
        until(lambda: source.online, 15)
        real = time.time
        for step in (86400.0, -86400.0):
            with monkeypatch.context() as patched:
                patched.setattr("time.time", lambda step=step: real() + step)
                frames = source.frames
                until(lambda frames=frames: source.frames > frames + 20, 10)
                assert source.online
                assert source.latest is not None
                assert abs(source.latest.captured_at - real() - step) < 5
                assert time.monotonic() - source.latest.monotonic < 5
        assert [online for _, online, _ in pool.told] == [True]
