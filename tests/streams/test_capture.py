"""What a capture makes of readers that misbehave."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from prometheus_client import REGISTRY

from siwatsystem.errors import StreamLost, StreamUnauthorized, StreamUnreachable
from siwatsystem.streams.pool import Source, SourcePool
from siwatsystem.streams.reader import Opening, Picture, Reader
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, camera_settings, film, pools, reader_threads
from tests.servers import until

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

SPEC = SourceSpec("rtsp://127.0.0.1/never-opened")
Read = Callable[[Opening], Picture | None]


class Scripted:
    """A reader that does what a function says."""

    closed = 0

    def __init__(self, opening: Opening, read: Read) -> None:
        self._opening = opening
        self._read = read

    def read(self) -> Picture | None:
        time.sleep(0.02)
        return self._read(self._opening)

    def close(self) -> None:
        type(self).closed += 1


def picture(_: Opening) -> Picture:
    return Picture(np.zeros((2, 2, 3), np.uint8), time.time(), time.monotonic())


@pytest.fixture
def start() -> Iterator[Callable[..., Source]]:
    """Opens a source whose every attempt takes the next of the given functions, the last for ever."""
    made: list[SourcePool] = []

    def begin(*reads: Read, **values: object) -> Source:
        turns = iter(reads)
        last = reads[-1]

        def opener(opening: Opening) -> Reader:
            return Scripted(opening, next(turns, last))

        pool = SourcePool(camera_settings(**values), lambda _: None, opener)
        made.append(pool)
        return pool.acquire(SPEC)

    yield begin
    for pool in made:
        pool.close(5)
    assert not reader_threads()


def test_a_fault_of_ours_costs_an_attempt_and_not_the_camera(start: Callable[..., Source]) -> None:
    def broken(_: Opening) -> Picture:
        raise ZeroDivisionError("what nobody expected")

    source = start(broken, picture)
    until(lambda: source.online)
    assert source.reconnects == 1


def test_a_camera_that_is_open_and_shows_nothing_is_opened_again(start: Callable[..., Source]) -> None:
    source = start(lambda _: None, picture, stale_after_sec=0.5)
    error = until(lambda: source.error, 5)
    assert error.code == "stream_unreachable"
    assert not error.permanent
    until(lambda: source.online)
    assert source.error is None


def test_a_stream_that_ends_before_its_first_frame_was_never_there_to_be_lost(
    start: Callable[..., Source],
) -> None:
    def ends(_: Opening) -> Picture:
        raise StreamLost("the stream has ended")

    source = start(ends)
    error = until(lambda: source.error)
    assert (error.code, error.message) == ("stream_unreachable", "the stream has ended")


def test_a_camera_that_locks_after_good_frames_is_told_as_locked(start: Callable[..., Source]) -> None:
    left = [3]

    def locks(opening: Opening) -> Picture:
        if not left[0]:
            raise StreamUnauthorized
        left[0] -= 1
        return picture(opening)

    source = start(locks)
    assert until(lambda: source.error).code == "stream_unauthorized"
    assert source.frames == 3
    time.sleep(0.5)
    assert source.reconnects == 0


def test_a_reader_that_cannot_be_closed_costs_nothing_more(
    start: Callable[..., Source], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def close(_: Scripted) -> None:
        raise OSError("what a library says of a broken connection")

    def locked(_: Opening) -> Picture:
        raise StreamUnauthorized

    monkeypatch.setattr(Scripted, "close", close)
    source = start(locked, picture)
    assert until(lambda: source.error).code == "stream_unauthorized"
    until(lambda: "closing failed" in caplog.text)
    source.retry()
    until(lambda: source.online)
    assert source.error is None


def test_a_fault_between_attempts_does_not_end_the_thread(
    start: Callable[..., Source], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Opening) -> Picture:
        raise StreamUnreachable("gone")

    def broken(*_: object) -> float:
        raise KeyError("what nobody expected")

    monkeypatch.setattr("siwatsystem.streams.capture.retry_delay", broken)
    source = start(fails, picture)
    until(lambda: source.online)
    assert "an attempt failed" in caplog.text


def test_numbers_go_on_after_a_camera_was_opened_again(start: Callable[..., Source]) -> None:
    left = [5]

    def five(opening: Opening) -> Picture:
        if not left[0]:
            raise StreamUnreachable("enough")
        left[0] -= 1
        return picture(opening)

    source = start(five, picture)
    seen: list[int] = []
    source.add_listener(lambda: seen.append(source.latest.sequence if source.latest else 0))
    until(lambda: source.reconnects == 1 and len(seen) > 8)
    assert seen == list(range(seen[0], seen[0] + len(seen)))


def test_every_reader_is_closed(start: Callable[..., Source]) -> None:
    Scripted.closed = 0

    def fails(_: Opening) -> Picture:
        raise StreamUnreachable("gone")

    source = start(fails, fails, fails, picture, reconnect_interval_sec=0.1)
    until(lambda: source.online)
    assert Scripted.closed == 3


def damage(path: Path, number: int) -> None:
    """Fill the packet of that number with noise, behind its length and type."""
    with av.open(str(path)) as container:
        packet = next(islice(container.demux(video=0), number, None))
        assert packet.pos is not None
        begin, end = packet.pos + 6, packet.pos + packet.size
    data = bytearray(path.read_bytes())
    data[begin:end] = random.Random(7).randbytes(end - begin)
    path.write_bytes(data)


def test_damaged_video_is_counted_and_not_shown_up_to_the_next_key_frame(
    pools: Callable[..., Pool], tmp_path: Path
) -> None:
    path = film(tmp_path / "film.mp4", 40, gop=20)
    damage(path, 6)
    source = pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}"))
    shown: list[int] = []

    def listener() -> None:
        if (frame := source.latest) is not None:
            shown.append(round((float(frame.image.mean()) - 20) / 5))

    source.add_listener(listener)

    def errors() -> float:
        labels = {"source": source.spec.label}
        return REGISTRY.get_sample_value("siwat_source_decode_errors_total", labels) or 0.0

    until(lambda: errors() >= 2 and len(shown) > 60)
    assert source.reconnects == 0
    assert {0, 1, 20, 30, 36} <= set(shown)
    assert not {10, 11, 12, 13, 14, 15, 16, 17, 18} & set(shown)
