"""Opens a camera as the worker does, watches for a while what it sends, and counts what that costs.

The calling thread reads; one more (`camera-check`) ends what hangs, as the worker's watchdog does.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import REGISTRY

from siwatsystem.cameras.report import CameraReport, Packet, summarise
from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamError, StreamUnreachable
from siwatsystem.metrics import DECODE_ERRORS
from siwatsystem.streams.address import parse_address
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.openers import open_camera
from siwatsystem.streams.reader import Opening, Picture, Reader
from siwatsystem.streams.spec import SourceSpec

if TYPE_CHECKING:
    from siwatsystem.streams.decoder import Decoder

T = TypeVar("T")

_LOOK_SEC = 0.1
_SETTLED_SEC = 1.0
"""What a camera sends at first was made before, and comes at once: rates are taken after it."""
_WHOLE_SEC = 30.0
"""Longest wait for the first picture."""


@dataclass(eq=False)
class _Seen:
    """What came so far."""

    packets: list[Packet] = field(default_factory=list[Packet])
    frames: list[float] = field(default_factory=list[float])
    """When each whole picture arrived, on the monotonic clock."""
    shape: tuple[int, ...] = ()


def measure(
    url: str,
    settings: StreamSettings,
    *,
    seconds: float,
    snapshot_ms: int | None = None,
    progress: Callable[[float], None] = lambda seconds: None,
) -> CameraReport:
    """Watch for `seconds` from the first picture on; `progress` is told how many of them have passed.

    `url` is what a subscription may name, or a webcam's index. Raises StreamError where no picture comes.
    """
    spec = SourceSpec(url, snapshot_ms)
    cutoff = Cutoff()
    address = parse_address(url, settings)
    everything = settings.model_copy(update={"decode": "all"})
    opening = Opening(spec, address, everything, cutoff, interval_sec=0.001)
    began, damaged, processor = time.monotonic(), _damaged(spec), time.process_time()
    with _watched(cutoff):
        reader = open_camera(opening)
        try:
            opened = time.monotonic()
            seen, ended = _watch(reader, seconds, began, progress)
            facts = _facts(reader)
        finally:
            reader.close()
    watched = time.monotonic() - seen.frames[0]
    spent = 1000 * (time.process_time() - processor)
    height, width = seen.shape[:2]
    return CameraReport(
        address=spec.redacted,
        opened_sec=round(opened - began, 3),
        first_frame_sec=round(seen.frames[0] - began, 3),
        width=width,
        height=height,
        watched_sec=round(watched, 1),
        frames=len(seen.frames),
        fps=_rate(_settled(seen.frames, seen, lambda moment: moment)),
        damaged=_damaged(spec) - damaged,
        cpu_ms_per_frame=round(spent / len(seen.frames), 2),
        ended=ended,
        **facts,
        **(summarise(_settled(seen.packets, seen, lambda packet: packet.arrived)) if seen.packets else {}),
    )


def _watch(
    reader: Reader, seconds: float, began: float, progress: Callable[[float], None]
) -> tuple[_Seen, str | None]:
    """What came, and why it ended early. Raises StreamError where nothing did."""
    seen = _Seen()
    decoder = _decoder(reader)
    if decoder is not None:
        decoder.on_packet = lambda packet: seen.packets.append(
            Packet(time.monotonic(), decoder.seconds(packet.pts), packet.size, packet.is_keyframe)
        )
    while True:
        now = time.monotonic()
        if seen.frames and now - seen.frames[0] >= seconds:
            return seen, None
        if not seen.frames and now - began > _WHOLE_SEC:
            raise StreamUnreachable(f"no whole picture came within {_WHOLE_SEC:.0f} s")
        try:
            picture = reader.read()
        except StreamError as error:
            if not seen.frames:
                raise
            return seen, error.message
        if picture is not None:
            seen.shape = _shape(picture)
            seen.frames.append(picture.monotonic)
            progress(time.monotonic() - seen.frames[0])


def _facts(reader: Reader) -> dict[str, Any]:
    """What the stream says of itself."""
    decoder = _decoder(reader)
    if decoder is None:
        return {}
    context, rate = decoder.stream.codec_context, decoder.stream.average_rate
    return {
        "codec": context.name,
        "profile": context.profile,
        "declared_fps": round(float(rate), 2) if rate else None,
    }


def _decoder(reader: Reader) -> "Decoder | None":
    """What decodes a stream; single pictures (snapshots, webcams) have none."""
    found: Any = getattr(reader, "decoder", reader)
    return found if hasattr(found, "on_packet") else None


def _shape(picture: Picture) -> tuple[int, ...]:
    image = picture.image
    return image().shape if callable(image) else image.shape


def _settled(items: list[T], seen: _Seen, arrived: Callable[[T], float]) -> list[T]:
    """Those that came once the stream flowed; all where it was watched for too short a time."""
    later = [item for item in items if arrived(item) >= seen.frames[0] + _SETTLED_SEC]
    return later if len(later) > 1 else items


def _rate(moments: list[float]) -> float:
    """Pictures a second."""
    span = moments[-1] - moments[0]
    return round((len(moments) - 1) / span, 2) if span > 0 else 0.0


def _damaged(spec: SourceSpec) -> int:
    DECODE_ERRORS.labels(spec.label)
    return int(REGISTRY.get_sample_value("siwat_source_decode_errors_total", {"source": spec.label}) or 0)


@contextmanager
def _watched(cutoff: Cutoff) -> Generator[None]:
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SEC):
            cutoff.check(time.monotonic())

    thread = threading.Thread(target=look, name="camera-check", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
