"""What a camera was seen to send, and what to change on it so that it costs less to read. Pure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_LARGE = 1920 * 1088
_MOST_PARTS = 3.0
"""Keyframes whose distances differ by this factor come from an encoder that decides on them by itself."""
_FEWEST = 3
"""From one keyframe to the next; with fewer nothing is gained, and the stream is several times as large."""
_ROUGH_MS = 400.0
_LATE_SEC = 3.0
_HEAVY_MBIT = 8.0
_DAMAGED = 0.001
_BEGINS_AGAIN_SEC = 1.0
"""Time stamps that go back further are those of a file that begins again."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One that arrived: when, by the monotonic clock and by its own time stamp (None: it has none)."""

    arrived: float
    shown_at: float | None
    size: int
    """Bytes."""
    key: bool


@dataclass(frozen=True, slots=True)
class CameraReport:
    """What was seen within `watched_sec`. What a kind of camera does not have is None."""

    address: str
    """Without user, password and query."""
    opened_sec: float
    """From the first byte out until the stream was described."""
    first_frame_sec: float
    """From the first byte out until the first whole picture."""
    width: int
    height: int
    watched_sec: float
    frames: int
    fps: float
    codec: str | None = None
    profile: str | None = None
    declared_fps: float | None = None
    mbit_per_sec: float | None = None
    keyframe_sec: float | None = None
    """Between two keyframes, the median; None before there were two."""
    keyframe_longest_sec: float | None = None
    jitter_ms: float | None = None
    """By how much packets come later than the quickest ones do: 95 % are better."""
    reordered: bool = False
    """Whether it sends B-frames: pictures that are sent after ones that are shown later."""
    damaged: int = 0
    """Packets and pictures that could not be decoded."""
    cpu_ms_per_frame: float = 0.0
    """Processor time of reading and decoding, all threads."""
    ended: str | None = None
    """Why it ended before its time."""


def summarise(packets: list[Packet]) -> dict[str, Any]:
    """Rates and distances of packets: the fields of CameraReport that follow from them."""
    keys = [packet for packet in packets if packet.key]
    apart = sorted(_moment(after) - _moment(before) for before, after in pairwise(keys))
    apart = [seconds for seconds in apart if seconds > 0]  # a file begins again
    span = packets[-1].arrived - packets[0].arrived if len(packets) > 1 else 0.0
    bits = 8 * sum(packet.size for packet in packets[1:])
    shown = [packet.shown_at for packet in packets if packet.shown_at is not None]
    return {
        "mbit_per_sec": round(bits / span / 1e6, 3) if span > 0 else None,
        "keyframe_sec": round(apart[len(apart) // 2], 3) if apart else None,
        "keyframe_longest_sec": round(apart[-1], 3) if apart else None,
        "jitter_ms": _jitter_ms(packets),
        "reordered": any(0 < before - after < _BEGINS_AGAIN_SEC for before, after in pairwise(shown)),
    }


def advice(report: CameraReport, target_fps: float) -> list[str]:
    """What to change, the most useful first; empty where nothing needs to."""
    if report.frames == 1 and report.ended is not None and report.codec in ("mjpeg", "png"):
        return [
            "the address gives a single picture: look with --snapshot 500, and subscribe it as `snapshotUrl` "
            "with `snapshotInterval`"
        ]
    parts = (
        [f"it ended early: {report.ended}; what follows is of the time before"] if report.ended else [],
        _of_keyframes(report, target_fps),
        _of_size(report, target_fps),
        _of_encoding(report),
        _of_the_way(report),
    )
    return [words for part in parts for words in part]


def _of_keyframes(report: CameraReport, target_fps: float) -> list[str]:
    wanted = 1 / target_fps
    if report.codec in (None, "mjpeg"):
        return []
    frames = int((report.declared_fps or report.fps) * wanted)
    if frames < _FEWEST:
        return []  # nearly every frame is analysed: keyframes alone would be no fewer
    how = f"set its keyframe interval (I-frame interval, GOV length) to {frames} frames, {wanted:g} s"
    less = "then keyframes alone are decoded, for half of the processor time and less"
    if report.keyframe_sec is None:
        return [f"fewer than two keyframes came within {report.watched_sec:.0f} s: {how}; {less}"]
    if (report.keyframe_longest_sec or 0) > _MOST_PARTS * report.keyframe_sec:
        return [
            f"keyframes come when its encoder likes: switch H.264+, H.265+ or “smart codec” off, and {how}"
        ]
    # A tenth: what a camera calls 0.5 s is 13 of 25 frames.
    return [f"{how}: {less}"] if report.keyframe_sec > 1.1 * wanted else []


def _of_size(report: CameraReport, target_fps: float) -> list[str]:
    told: list[str] = []
    if report.width * report.height > _LARGE:
        told.append(
            f"{report.width} × {report.height} is more than detectors look at (mostly 640 pixels): take its "
            "second stream, or 1920 × 1080 and less, unless small things far away must be read"
        )
    only_keyframes = report.keyframe_sec is not None and report.keyframe_sec <= 1.1 / target_fps
    if report.codec is not None and report.fps > 6 * target_fps and not only_keyframes:
        told.append(
            f"{report.fps:.0f} frames a second are sent and all decoded, {target_fps:g} are analysed: "
            f"{max(5, round(4 * target_fps))} are enough"
        )
    return told


def _of_encoding(report: CameraReport) -> list[str]:
    told: list[str] = []
    if report.codec == "mjpeg" and (report.mbit_per_sec or 0) > _HEAVY_MBIT:
        told.append("MJPEG takes ten times the network of H.264: choose that")
    if report.reordered:
        told.append("switch B-frames off: each picture waits for later ones before it can be decoded")
    return told


def _of_the_way(report: CameraReport) -> list[str]:
    told: list[str] = []
    if report.damaged > _DAMAGED * max(report.frames, 1):
        told.append(
            f"{report.damaged} packets were damaged: look at cable, Wi-Fi and switch, use TCP, lower the bit "
            "rate"
        )
    if report.jitter_ms is not None and report.jitter_ms > _ROUGH_MS:
        told.append(
            f"one packet in twenty comes {report.jitter_ms:.0f} ms late or more: a busy network, or a camera "
            "with too many clients"
        )
    if report.codec != "mjpeg" and (report.mbit_per_sec or 0) > _HEAVY_MBIT:
        told.append(f"{report.mbit_per_sec:.1f} Mbit/s: half of that shows as much to a detector")
    if report.first_frame_sec > _LATE_SEC:
        told.append(
            f"the first picture came after {report.first_frame_sec:.1f} s: after each outage frames are "
            "missed for as long; a shorter keyframe interval helps"
        )
    return told


def _moment(packet: Packet) -> float:
    return packet.arrived if packet.shown_at is None else packet.shown_at


def _jitter_ms(packets: list[Packet]) -> float | None:
    delays = sorted(packet.arrived - packet.shown_at for packet in packets if packet.shown_at is not None)
    return round(1000 * (delays[int(0.95 * (len(delays) - 1))] - delays[0]), 1) if len(delays) > 1 else None
