"""A video file or picture as a finite run of frames: as fast as it can be read, once, to its end.

Unlike `file`, which plays a file as a camera, nothing waits here, and time is the file's own.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from siwatsystem.errors import StreamError, StreamNotFound, StreamUnreachable
from siwatsystem.frames import Image
from siwatsystem.streams.containers import FILE_OPTIONS, METADATA_ERRORS
from siwatsystem.streams.damage import Damage
from siwatsystem.streams.thinning import Thinning

VIDEOS = frozenset(
    [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg"]
) | {".h264", ".hevc", ".flv", ".wmv", ".ogv", ".mjpeg", ".ivf", ".mxf"}
PICTURES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])

_DEFAULT_RATE = 25.0
_AFTERMATH_SEC = 1.0
"""After damage, how long frames that are not there count as lost."""


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What a clip says of itself. `width` and `height` in pixels, as it is shown (turned upright).

    `seconds` and `frames` are None where the file does not say; a picture is one frame of 0 s and 0 fps.
    """

    width: int
    height: int
    fps: float
    seconds: float | None
    frames: int | None
    codec: str


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """One frame: H×W×3 BGR, seconds from the clip's start, its number among all frames from 0."""

    image: Image
    at: float
    index: int


class Clip:
    """The file at `path`, thinned to `fps` frames a second (by their time stamps) or to every N-th.

    Frames before the one numbered `start` are decoded, as later ones are made of them, and left out. Each
    iteration reads the file anew and closes it at its end, or when it is left. Two readings of the same
    file give the same frames. `passed` is given the number of every frame that is left out; where it says
    False the iteration ends. Raises StreamError, naming the file, where nothing in it can be shown.
    """

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        every: int | None = None,
        start: int = 0,
        passed: Callable[[int], bool] | None = None,
    ) -> None:
        self.path = path
        self.damage: str | None = None
        """What could not be read, known once an iteration has come to its end; None for a whole file."""
        self._reading: _Reading | None = None
        self._fps = fps
        self._every = every
        self._start = start
        self._passed = passed
        if not path.is_file():
            raise StreamNotFound(f"{path}: there is no such file")
        self.info = _picture_info(path) if _is_picture(path) else _video_info(path)

    def __iter__(self) -> Iterator[ClipFrame]:
        if _is_picture(self.path):
            return iter([ClipFrame(_picture(self.path), 0.0, 0)])
        return self._frames()

    def damage_before(self, at: float) -> str | None:
        """What could not be read before the frame at `at` seconds, for whoever leaves an iteration there."""
        return None if self._reading is None else _told(self._reading.gaps_before(at))

    def _frames(self) -> Iterator[ClipFrame]:
        self.damage = self._reading = None
        thinning = Thinning(self._fps, self._every)
        with _open(self.path) as container:
            reading = self._reading = _Reading(container)
            for frame, at, index in reading:
                if thinning.takes(at, index) and index >= self._start:
                    yield ClipFrame(_upright(frame), at, index)
                elif self._passed is not None and not self._passed(index):
                    return
            self.damage = reading.damage(self.info)


class _Reading:
    """One pass over a container's first video stream."""

    def __init__(self, container: InputContainer) -> None:
        self._container = container
        self._stream = _stream(container)
        # Slices, not frames: with frame threads it depends on their timing what is told as damaged.
        self._stream.thread_type = "SLICE"
        self._rate = _rate(self._stream)
        self._first: float | None = None
        self._shift = 0.0
        self._at = 0.0
        self._reached = 0.0
        self._damage = Damage()
        self._gap_from: float | None = None
        self._gaps: list[tuple[float, float]] = []

    def __iter__(self) -> Iterator[tuple[VideoFrame, float, int]]:
        """The frames that are whole, their seconds from the first one, ever increasing, their numbers."""
        for index, frame in enumerate(self._decoded()):
            if frame is None or not self._damage.shows(frame):
                # What is dropped may come in any order: it must not move the clock.
                self._gap_from = self._at if self._gap_from is None else self._gap_from
                if frame is not None:
                    self._reached = max(self._reached, self._stamp(frame))
                continue
            before, at = self._at, self._time(frame)
            if self._gap_from is not None:
                self._gaps.append((self._gap_from, at))
                self._gap_from = None
            elif (
                self._gaps and before - self._gaps[-1][1] < _AFTERMATH_SEC and at - before > 2.5 / self._rate
            ):
                # Alone it would be no damage: cameras leave out what does not move.
                self._gaps.append((before, at))
            yield frame, at, index

    def damage(self, info: ClipInfo) -> str | None:
        """What could not be read, in words."""
        parts = self.gaps_before(math.inf)
        last, seconds = max(self._at, self._reached) + 1 / self._rate, info.seconds
        if seconds is not None and last + max(0.5, 2 / self._rate) < seconds:
            parts.append(f"it breaks off at {clock(last)} of {clock(seconds)}")
        elif self._gap_from is not None:
            parts.append(f"nothing whole from {clock(self._gap_from)} to its end")
        return _told(parts)

    def gaps_before(self, at: float) -> list[str]:
        """Where nothing was whole, of what begins before `at` seconds and was read over."""
        # Copied: whoever asks may be another thread than the reading one.
        gaps = list(self._gaps)
        return [f"nothing whole from {clock(begin)} to {clock(end)}" for begin, end in gaps if begin < at]

    def _decoded(self) -> Iterator[VideoFrame | None]:
        """Every decoded frame; None for what could not be."""
        packets = self._container.demux(self._stream)
        while True:
            lost = False
            try:
                packet = next(packets)
                # The one that says that the file has ended is no packet of it.
                lost = packet.size > 0 and self._damage.fed(packet)
                frames = self._stream.codec_context.decode(packet)
            except StopIteration:
                return
            except av.error.EOFError:
                return
            except av.error.InvalidDataError:
                self._damage.lose()
                yield None
                continue
            except av.error.FFmpegError:
                # The disk, not the data: there is no next packet.
                yield None
                return
            if lost:
                yield None
            yield from frames

    def _stamp(self, frame: VideoFrame) -> float:
        base = self._stream.time_base
        if frame.pts is None or base is None:
            return self._at
        stamp = float(frame.pts * base)
        self._first = stamp if self._first is None else self._first
        return stamp - self._first + self._shift

    def _time(self, frame: VideoFrame) -> float:
        # Frames flushed at the end have a time stamp, but no time base.
        base = self._stream.time_base
        if frame.pts is None or base is None:
            at = 0.0 if self._first is None else self._at + 1 / self._rate
            self._first = self._first or 0.0
        else:
            at = self._stamp(frame)
        if at < self._at:
            # The clock was set back: recordings put together without new time stamps.
            self._shift += self._at + 1 / self._rate - at
            at = self._at + 1 / self._rate
        self._at = at
        return at


def _told(parts: list[str]) -> str | None:
    if not parts:
        return None
    more = f", and {len(parts) - 5} more" if len(parts) > 5 else ""
    return f"damaged: {', '.join(parts[:5])}{more}"


def clock(seconds: float) -> str:
    """`0:07.2`, `1:02:03.0`."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def clips(path: Path) -> list[Path]:
    """The videos and pictures in a folder, by name; a file is the only one itself.

    Raises StreamNotFound where there is nothing.
    """
    if not path.is_dir():
        if not path.exists():
            raise StreamNotFound(f"{path}: there is no such file or folder")
        return [path]
    found = [one for one in path.iterdir() if one.is_file() and one.suffix.lower() in VIDEOS | PICTURES]
    if not found:
        raise StreamNotFound(f"{path}: the folder holds no video and no picture")
    return sorted(found, key=lambda one: one.name)


def _open(path: Path) -> InputContainer:
    try:
        # Absolute: FFmpeg takes what stands before a colon for a protocol.
        return av.open(str(path.absolute()), options=FILE_OPTIONS, metadata_errors=METADATA_ERRORS)
    except av.error.FFmpegError as error:
        raise StreamUnreachable(f"{path}: {_reason(path, error)}") from None


def _reason(path: Path, error: av.error.FFmpegError) -> str:
    if not isinstance(error, av.error.InvalidDataError):
        return f"cannot be read ({error.strerror})"
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "its index is missing or broken: the recording was cut off before it was finished"
    return "is no video that can be read"


def _stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise StreamUnreachable(f"{container.name}: holds no video")
    stream = container.streams.video[0]
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise StreamUnreachable(f"{container.name}: is encoded in a way that nothing here decodes")
    return stream


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0) or _DEFAULT_RATE


def _video_info(path: Path) -> ClipInfo:
    """Reads up to the first whole picture, so that a file without one is refused at once."""
    with _open(path) as container:
        stream = _stream(container)
        first = next(iter(_Reading(container)), None)
        if first is None:
            raise StreamUnreachable(f"{path}: holds no picture that can be decoded")
        height, width = _upright(first[0]).shape[:2]
        seconds = _seconds(container, stream)
        fps = _rate(stream)
        frames = stream.frames or (None if seconds is None else round(seconds * fps))
        return ClipInfo(width, height, fps, seconds, frames, stream.codec_context.name)


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The container's length is that of its longest stream, which may be the sound's.
    alone = len(container.streams) == 1
    return container.duration / av.time_base if alone and container.duration else None


def _upright(frame: VideoFrame) -> Image:
    """The whole picture as it is shown: phones store it turned and say so beside it."""
    image = cast(Image, frame.to_ndarray(format="bgr24"))
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def _picture_info(path: Path) -> ClipInfo:
    height, width = _picture(path).shape[:2]
    return ClipInfo(width, height, 0.0, 0.0, 1, path.suffix.lower().removeprefix("."))


def _picture(path: Path) -> Image:
    import cv2

    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise StreamError(f"{path}: is no picture that can be read")
    return cast(Image, image)
