"""Decoding on a GPU, and without one where a GPU was tried."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamLost
from siwatsystem.streams import decoder, hardware
from siwatsystem.streams.address import Address
from siwatsystem.streams.containers import FILE_OPTIONS
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.reader import Opening
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, pools
from tests.servers import until
from tests.streams.test_decoding import Shown, film

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

HAS_GPU = hardware.gpu_context("h264", None) is not None


@pytest.fixture
def forgotten() -> None:
    """As if nobody had looked for a GPU yet."""
    hardware._has_gpu.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
@pytest.mark.usefixtures("forgotten")
def test_without_a_gpu_the_cpu_decodes_and_it_is_told_once(
    pools: Callable[..., Pool], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool = pools(streams={"file_root": tmp_path, "decode_device": "auto"})
    for name in ("one.mp4", "two.mp4"):
        path = film(tmp_path / name, 40, (0, 20), bf="0")
        source = pool.acquire(SourceSpec(f"file://{path}"))
        until(lambda source=source: source.online)
        assert source.decoding.device == "cpu"
        assert source.reconnects == 0
    assert caplog.text.count("no GPU decodes video") == 1


@pytest.mark.usefixtures("forgotten")
def test_cpu_means_that_no_gpu_is_looked_for(
    pools: Callable[..., Pool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(decoder, "gpu_context", lambda *given: asked.append(str(given)))
    path = film(tmp_path / "film.mp4", 40, (0, 20), bf="0")
    source = pools(streams={"file_root": tmp_path, "decode_device": "cpu"}).acquire(
        SourceSpec(f"file://{path}")
    )
    until(lambda: source.online)
    assert not asked


def test_a_decoder_that_takes_nothing_is_left_for_the_cpu_and_the_camera_stays_open(
    pools: Callable[..., Pool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the GPU's place a decoder of another codec, which fails as a lost GPU does: at every packet."""

    def failing(*_: object) -> VideoCodecContext:
        context = CodecContext.create("vp9", "r")
        assert isinstance(context, VideoCodecContext)
        return context

    monkeypatch.setattr(decoder, "gpu_context", failing)
    path = film(tmp_path / "film.mp4", 100, range(0, 100, 20), bf="0")
    shown = Shown(pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}")))
    until(lambda: len(shown.numbers) >= 30, 20)
    assert shown.source.reconnects == 0
    assert shown.source.decoding.device == "cpu"
    assert shown.numbers[:30] == [number % 50 for number in range(20, 50)]
    assert caplog.text.count("the GPU cannot decode it") == 1


def test_a_camera_on_the_gpu_has_no_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where there is no GPU the same decoder is made without it.
    if not HAS_GPU:
        monkeypatch.setattr(hardware, "HWAccel", lambda *_, **__: None)
    assert hardware._create("h264").thread_count == 1  # pyright: ignore[reportPrivateUsage]


def write_film(path: Path, encoder: str, frames: int) -> None:
    # SVT-AV1 schedules who encodes before all else on the machine (SCHED_FIFO, 99), where it may, for good:
    # every process that this one begins later would be, too.
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoder, rate=10, options={"g": "10"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for _ in range(frames):
                container.mux(stream.encode(av.VideoFrame(128, 96, "yuv420p")))
            container.mux(stream.encode())
    finally:
        os.sched_setscheduler(0, policy, priority)


@pytest.mark.parametrize(
    ("encoder", "codec"), [("libsvtav1", "av1"), ("libvpx-vp9", "vp9"), ("libx264", "h264")]
)
def test_the_gpu_is_asked_for_the_codec_whatever_decodes_it_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, codec: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(decoder, "gpu_context", lambda name, _: asked.append(name))
    path = tmp_path / "film.mkv"
    write_film(path, encoder, 3)
    address = Address("file", target=str(path))
    opening = Opening(SourceSpec(f"file://{path}"), address, StreamSettings(), Cutoff(), 0.5)
    decoder.open_container(str(path), opening, FILE_OPTIONS).close()
    assert asked == [codec]
    assert codec in hardware.CODECS


def test_a_gpu_that_does_not_decode_av1_leaves_it_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg's own decoder of it, which is that of the GPU, decodes nothing without one."""

    def without(codec: str, extradata: bytes | None) -> VideoCodecContext:
        context = CodecContext.create(codec, "r")
        assert isinstance(context, VideoCodecContext)
        context.extradata = extradata
        return context

    monkeypatch.setattr(decoder, "gpu_context", without)
    path = tmp_path / "film.mkv"
    write_film(path, "libsvtav1", 40)
    address = Address("file", target=str(path))
    settings = StreamSettings(decode="all")
    opening = Opening(SourceSpec(f"file://{path}"), address, settings, Cutoff(), 0.5)
    opened = decoder.open_container(str(path), opening, FILE_OPTIONS)
    opened.shows_end = True
    shown = 0
    with contextlib.suppress(StreamLost):
        while True:
            shown += opened.read_frame() is not None
    opened.close()
    assert shown == 30
    assert opening.decoding.device == "cpu"
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.skipif(not HAS_GPU, reason="there is no GPU that decodes")
def test_frames_decoded_on_a_gpu_show_what_was_filmed(pools: Callable[..., Pool], tmp_path: Path) -> None:
    # NVDEC takes no pictures smaller than 145 pixels.
    path = film(tmp_path / "film.mp4", 100, range(0, 100, 20), size=(320, 240), bf="0")
    shown = Shown(pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}")))
    until(lambda: len(shown.numbers) >= 100, 20)
    assert shown.source.decoding.device == "cuda"
    assert set(shown.numbers) == set(range(50))
