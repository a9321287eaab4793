"""Which frames of real streams are decoded, and that what is shown is right."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from prometheus_client import REGISTRY

from siwatsystem.streams.pool import Source
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, pools, rtsp, snapshots
from tests.servers import until

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

RATE = 20
DARKEST, STEP = 30, 4
"""Luma of the first picture; each is so much brighter than the one before."""


def film(
    path: Path,
    frames: int,
    keys: Sequence[int],
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    **options: str,
) -> Path:
    """A film whose picture tells its number by its brightness, with keyframes at `keys`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = width, height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 1000
        stream.options = {"sc_threshold": "0", "forced-idr": "1", "crf": "5", **options}
        for number in range(frames):
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            planes[:height] = DARKEST + number % 50 * STEP
            frame = av.VideoFrame.from_ndarray(planes, format=stream.pix_fmt)
            frame.pict_type = PictureType.I if number in keys else PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Shown:
    """What a source showed: numbers of pictures (modulo 50) as their brightness tells."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.numbers: list[int] = []
        self.times: list[float] = []
        source.add_listener(self._look)

    def _look(self) -> None:
        frame = self.source.latest
        assert frame is not None
        luma = 16 + float(frame.image.mean()) * 219 / 255
        self.numbers.append(round((luma - DARKEST) / STEP))
        self.times.append(frame.monotonic)

    def gap(self) -> float:
        return max(b - a for a, b in pairwise(self.times))

    def counted(self, name: str) -> float:
        labels = {"source": self.source.spec.label}
        return REGISTRY.get_sample_value(f"siwat_{name}_total", labels) or 0.0


@pytest.fixture
def show(pools: Callable[..., Pool], tmp_path: Path) -> Callable[..., Shown]:
    """Plays a film, with `target_fps` and settings of `streams`."""

    def begin(path: Path, target_fps: float, **streams: str) -> Shown:
        pool = pools(streams={"file_root": tmp_path, **streams}, target_fps=target_fps)
        return Shown(pool.acquire(SourceSpec(f"file://{path}")))

    return begin


@pytest.mark.parametrize("bframes", ["0", "3"])
def test_keyframes_alone_where_they_come_often_enough(
    show: Callable[..., Shown], tmp_path: Path, bframes: str
) -> None:
    shown = show(film(tmp_path / "film.mp4", 100, range(0, 100, 10), bf=bframes), target_fps=2)
    until(lambda: shown.source.decoding.policy == "keyframes")
    before = len(shown.numbers)
    received, decoded = shown.counted("source_packets"), shown.counted("source_frames_decoded")
    until(lambda: len(shown.numbers) >= before + 12, 20)
    assert {number % 10 for number in shown.numbers[before + 1 :]} == {0}
    assert shown.counted("source_packets") - received >= 100
    assert shown.counted("source_frames_decoded") - decoded <= 15
    assert shown.source.online
    assert shown.source.decoding.keyframe_sec == pytest.approx(0.5)
    assert shown.gap() < 1.5


def test_every_frame_where_keyframes_are_too_rare(show: Callable[..., Shown], tmp_path: Path) -> None:
    shown = show(film(tmp_path / "film.mp4", 100, range(0, 100, 20), bf="0"), target_fps=2)
    until(lambda: len(shown.numbers) >= 150, 20)
    assert shown.source.decoding.policy == "all"
    assert set(shown.numbers) == set(range(50))


def test_when_keyframes_become_rare_all_is_decoded_without_a_wrong_picture(
    show: Callable[..., Shown], tmp_path: Path
) -> None:
    """2.5 s with a keyframe every half second, then none for 5 s."""
    shown = show(film(tmp_path / "film.mp4", 150, range(0, 50, 10), bf="0"), target_fps=2)
    until(lambda: shown.source.decoding.policy == "keyframes")
    until(lambda: shown.source.decoding.policy == "all")
    until(lambda: len(shown.numbers) >= 130, 20)
    # A keyframe every 10 pictures, the first one after the overdue one, every picture.
    assert {(b - a) % 50 for a, b in pairwise(shown.numbers)} == {10, 11, 1}
    assert shown.gap() < 1.5
    assert shown.counted("source_decode_errors") == 0


def test_of_pictures_that_are_all_keyframes_those_that_are_due(
    show: Callable[..., Shown], tmp_path: Path
) -> None:
    shown = show(film(tmp_path / "film.avi", 100, (), codec="mjpeg"), target_fps=4)
    until(lambda: shown.source.decoding.policy == "keyframes")
    received, decoded = shown.counted("source_packets"), shown.counted("source_frames_decoded")
    until(lambda: shown.counted("source_packets") >= received + 100, 20)
    assert 18 <= shown.counted("source_frames_decoded") - decoded <= 22


def test_pictures_refreshed_bit_by_bit_are_all_decoded(show: Callable[..., Shown], tmp_path: Path) -> None:
    """Every tenth packet is called a keyframe, one is."""
    path = film(tmp_path / "film.mp4", 100, (), bf="0", **{"intra-refresh": "1", "g": "10"})
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) == 10
    shown = show(path, target_fps=1)
    until(lambda: len(shown.numbers) >= 120, 20)
    assert shown.source.decoding.policy == "all"


def test_all_and_keyframes_are_what_they_say(show: Callable[..., Shown], tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 100, range(0, 100, 10), bf="0")
    every, keys = show(path, target_fps=1, decode="all"), show(path, target_fps=20, decode="keyframes")
    until(lambda: len(every.numbers) >= 100 and len(keys.numbers) >= 10, 20)
    assert set(every.numbers) == set(range(50))
    assert {number % 10 for number in keys.numbers} == {0}
    assert keys.source.decoding.policy == "keyframes"
    assert every.source.decoding.policy == "all"


def test_a_film_plays_as_long_whatever_of_it_is_decoded(show: Callable[..., Shown], tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 30, range(0, 30, 10), bf="0")
    shown = show(path, target_fps=2, decode="keyframes")
    until(lambda: len(shown.numbers) >= 4)
    began = time.monotonic()
    until(lambda: len(shown.numbers) >= 10, 20)
    assert time.monotonic() - began > 2.4


def test_what_is_in_force_is_told(pools: Callable[..., Pool], tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 100, range(0, 100, 10), bf="0")
    pool = pools(streams={"file_root": tmp_path}, target_fps=2)
    source = pool.acquire(SourceSpec(f"file://{path}"))
    until(lambda: source.decoding.policy == "keyframes")
    told = pool.status()[0]
    assert (told["decode"], told["keyframeSec"], told["device"]) == ("keyframes", 0.5, "cpu")
    label = {"source": source.spec.label}
    pool.release(source)
    until(lambda: REGISTRY.get_sample_value("siwat_source_packets_total", label) is None)


def test_snapshots_are_decoded_as_often_as_they_are_needed(
    pools: Callable[..., Pool], tmp_path: Path
) -> None:
    with snapshots(tmp_path) as camera:
        shown = Shown(pools(target_fps=1).acquire(SourceSpec(f"{camera}/snapshot", 100)))
        until(lambda: shown.source.decoding.policy == "keyframes", 20)
        received, decoded = shown.counted("source_packets"), shown.counted("source_frames_decoded")
        until(lambda: shown.counted("source_packets") >= received + 20, 30)
        assert shown.counted("source_frames_decoded") - decoded <= 16
        until(lambda: shown.counted("source_frames_decoded") > decoded)
        assert shown.source.online


@pytest.mark.parametrize("bframes", ["0", "2"])
def test_keyframes_of_an_rtsp_camera(pools: Callable[..., Pool], tmp_path: Path, bframes: str) -> None:
    path = film(tmp_path / "film.mp4", 100, range(0, 100, 10), bf=bframes)
    with rtsp(tmp_path, clip=path) as server:
        shown = Shown(pools(target_fps=2).acquire(SourceSpec(server.url())))
        until(lambda: shown.source.decoding.policy == "keyframes", 30)
        before, decoded = len(shown.numbers), shown.counted("source_frames_decoded")
        until(lambda: len(shown.numbers) >= before + 8, 30)
        assert {number % 10 for number in shown.numbers[before + 1 :]} == {0}
        assert shown.counted("source_frames_decoded") - decoded <= 10
        assert shown.source.online
        assert shown.source.reconnects == 0
