"""Sources against a real RTSP server that is killed, stopped, locked and overrun."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from siwatsystem.errors import MaxStreamsReached
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import (
    Pool,
    RtspServer,
    descriptors,
    misbehaving,
    pools,
    reader_threads,
    rtsp,
    rtsp_of_module,
    rtsp_server,
)
from tests.servers import until

__all__ = ["pools", "rtsp_of_module", "rtsp_server"]

pytestmark = pytest.mark.xdist_group("streams")

MakePool = Callable[..., Pool]
GONE_SEC = 5.0


def test_frames_come_in_order_and_in_the_cameras_colours(pools: MakePool, rtsp_server: RtspServer) -> None:
    source = pools().acquire(SourceSpec(rtsp_server.url()))
    first = source.wait_newer(0, 20)
    assert first is not None
    assert first.image.shape == (720, 1280, 3)
    assert first.image.std() > 5
    second = source.wait_newer(first.sequence, 20)
    assert second is not None
    assert second.sequence > first.sequence
    assert second.monotonic > first.monotonic
    assert abs(second.captured_at - time.time()) < 10
    until(lambda: source.online)
    assert source.error is None


def test_a_shared_camera_is_connected_to_once_and_until_the_last_user_left(
    pools: MakePool, rtsp_server: RtspServer
) -> None:
    pool, spec = pools(), SourceSpec(rtsp_server.url())
    first, second = pool.acquire(spec), pool.acquire(spec)
    assert first is second
    until(lambda: first.online)
    assert rtsp_server.clients() == 1
    pool.release(first)
    before = second.frames
    until(lambda: second.frames > before + 2)
    pool.release(second)
    until(lambda: rtsp_server.clients() == 0, GONE_SEC)
    until(lambda: not reader_threads(), GONE_SEC)


def test_every_frame_is_told_to_listeners_until_they_leave(pools: MakePool, rtsp_server: RtspServer) -> None:
    source = pools().acquire(SourceSpec(rtsp_server.url()))
    seen: list[int] = []

    def listener() -> None:
        assert source.latest is not None
        seen.append(source.latest.sequence)

    source.add_listener(listener)
    until(lambda: len(seen) >= 5)
    source.remove_listener(listener)
    assert seen == sorted(set(seen))
    until(lambda: source.frames > seen[-1] + 2)
    assert seen[-1] < source.frames - 1


def test_a_killed_server_is_told_once_and_read_again_when_it_is_back(
    pools: MakePool, rtsp_server: RtspServer
) -> None:
    pool = pools()
    source = pool.acquire(SourceSpec(rtsp_server.url()))
    until(lambda: source.online)
    for _ in range(2):
        rtsp_server.kill()
        until(lambda: not source.online, 10)
        assert source.error is not None
        assert source.error.code == "stream_lost"
        last = source.frames
        time.sleep(1.5)
        rtsp_server.start()
        until(lambda last=last: source.online and source.frames > last, 10)
        assert source.error is None
    codes = [(online, code) for _, online, code in pool.told]
    assert codes == [(True, None), (False, "stream_lost"), (True, None), (False, "stream_lost"), (True, None)]
    assert source.reconnects >= 2


def test_a_stopped_server_is_told_in_time_and_read_again_when_it_goes_on(
    pools: MakePool, rtsp_server: RtspServer
) -> None:
    pool = pools(stale_after_sec=3.0)
    source = pool.acquire(SourceSpec(rtsp_server.url()))
    until(lambda: source.online)
    rtsp_server.pause()
    try:
        until(lambda: not source.online, 3.0 + 2.0)
        until(lambda: source.error is not None, 2)
        assert source.error is not None
        assert source.error.code == "stream_lost"
        last = source.latest
        assert last is not None
        time.sleep(3)
        assert source.latest is last
    finally:
        rtsp_server.resume()
    until(lambda: source.online and source.frames > last.sequence, 15)
    assert source.latest is not None
    assert source.latest.sequence > last.sequence


def test_a_read_that_hangs_far_longer_than_staleness_is_ended(
    pools: MakePool, rtsp_server: RtspServer
) -> None:
    pool = pools(stale_after_sec=1.5, streams={"connect_timeout_sec": 60.0, "read_timeout_sec": 60.0})
    source = pool.acquire(SourceSpec(rtsp_server.url()))
    until(lambda: source.online)
    rtsp_server.pause()
    try:
        until(lambda: not source.online, 3.5)
        until(lambda: source.reconnects > 0, 5)
        pool.release(source)
        until(lambda: not reader_threads(), GONE_SEC)
    finally:
        rtsp_server.resume()


@pytest.mark.parametrize("connected", [True, False])
def test_a_stopped_server_holds_no_thread_back(
    pools: MakePool, rtsp_server: RtspServer, connected: bool
) -> None:
    pool = pools(streams={"connect_timeout_sec": 60.0, "read_timeout_sec": 60.0}, stale_after_sec=60.0)
    if not connected:
        rtsp_server.pause()
    before = descriptors()
    source = pool.acquire(SourceSpec(rtsp_server.url()))
    try:
        if connected:
            until(lambda: source.online)
            rtsp_server.pause()
        else:
            until(lambda: descriptors() > before)
        time.sleep(0.5)
        began = time.monotonic()
        pool.release(source)
        assert time.monotonic() - began < 0.5
        until(lambda: not reader_threads(), GONE_SEC)
        until(lambda: descriptors() <= before, GONE_SEC)
    finally:
        rtsp_server.resume()


def test_an_unknown_mount_is_told_and_rests_until_asked_again(
    pools: MakePool, rtsp_server: RtspServer
) -> None:
    pool = pools()
    source = pool.acquire(SourceSpec(rtsp_server.url("nothing")))
    until(lambda: source.error)
    assert source.error is not None
    assert source.error.permanent
    assert source.error.code == "stream_unreachable"
    time.sleep(1.5)
    assert source.reconnects == 0
    source.retry()
    until(lambda: source.reconnects == 1)
    until(lambda: rtsp_server.clients() == 0)
    assert len(pool.told) == 1


def test_a_locked_camera_opens_with_its_password_only(pools: MakePool, tmp_path: Path) -> None:
    pool = pools()
    with rtsp(tmp_path, ("user", "p@:/ss")) as server:
        right = pool.acquire(SourceSpec(server.url(login="user:p%40%3A%2Fss@")))
        plain = pool.acquire(SourceSpec(server.url(login="user:p@:/ss@")))
        wrong = pool.acquire(SourceSpec(server.url(login="user:wr0ng@")))
        none = pool.acquire(SourceSpec(server.url()))
        for source in (right, plain):
            until(lambda source=source: source.online)
        for source in (wrong, none):
            error = until(lambda source=source: source.error)
            assert error.code == "stream_unauthorized"
            assert "wr0ng" not in error.message
            assert source.reconnects == 0


def test_a_camera_that_comes_later_is_found(pools: MakePool, rtsp_server: RtspServer) -> None:
    rtsp_server.kill()
    pool = pools()
    source = pool.acquire(SourceSpec(rtsp_server.url()))
    error = until(lambda: source.error)
    assert error.code == "stream_unreachable"
    until(lambda: source.reconnects >= 2)
    rtsp_server.start()
    until(lambda: source.online, 10)
    assert [online for _, online, _ in pool.told] == [False, True]


def test_retries_end_after_as_many_as_allowed_until_asked_again(pools: MakePool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    source = pools(max_retries=2).acquire(SourceSpec(f"rtsp://127.0.0.1:{closed}/cam"))
    until(lambda: source.reconnects == 2)
    time.sleep(2)
    assert source.reconnects == 2
    source.retry()
    until(lambda: source.reconnects > 2, 10)


def _garbage(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(os.urandom(4096))


def _silence(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@pytest.mark.parametrize("serve", [_garbage, _silence])
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_is_no_camera_disturbs_no_other(
    pools: MakePool, rtsp_server: RtspServer, serve: Callable[[socket.socket], None], scheme: str
) -> None:
    pool = pools()
    with misbehaving(serve) as port:
        good = pool.acquire(SourceSpec(rtsp_server.url()))
        until(lambda: good.online)
        bad = pool.acquire(SourceSpec(f"{scheme}://127.0.0.1:{port}/cam"))
        error = until(lambda: bad.error, 15)
        assert error.code == "stream_unreachable"
        before, began = good.frames, time.monotonic()
        until(lambda: bad.reconnects >= 2, 20)
        time.sleep(max(0.0, 2 - (time.monotonic() - began)))
        rate = (good.frames - before) / (time.monotonic() - began)
        assert rate > 15 * 0.7
        assert not bad.online
        assert good.error is None
        pool.release(bad)
        until(lambda: len(reader_threads()) == 1, GONE_SEC)


def test_thirty_cameras_come_and_go_without_a_trace(pools: MakePool, rtsp_server: RtspServer) -> None:
    pool, spec = pools(), SourceSpec(rtsp_server.url())
    pool.release(pool.acquire(SourceSpec(rtsp_server.url("other"))))
    source = pool.acquire(spec)
    until(lambda: source.online)
    pool.release(source)
    until(lambda: not reader_threads(), GONE_SEC)
    before = descriptors()
    for number in range(30):
        source = pool.acquire(spec)
        if number % 10 == 0:
            until(lambda source=source: source.online)
        elif number % 2:
            time.sleep(0.05)
        pool.release(source)
    until(lambda: not reader_threads(), GONE_SEC)
    until(lambda: descriptors() <= before, GONE_SEC)
    until(lambda: rtsp_server.clients() == 0, GONE_SEC)
    before_told = len(pool.told)
    time.sleep(0.3)
    assert len(pool.told) == before_told


def test_as_many_sources_as_allowed_are_open_and_released_ones_do_not_count(
    pools: MakePool, rtsp_server: RtspServer
) -> None:
    pool, spec = pools(max_streams=1), SourceSpec(rtsp_server.url())
    rtsp_server.pause()
    try:
        stuck = pool.acquire(spec)
        assert pool.acquire(spec) is stuck
        with pytest.raises(MaxStreamsReached):
            pool.acquire(SourceSpec(rtsp_server.url("other")))
        pool.release(stuck)
        pool.release(stuck)
        other = pool.acquire(SourceSpec(rtsp_server.url("other")))
    finally:
        rtsp_server.resume()
    until(lambda: other.online)
