"""An H.264 film of annotated frames, each at its own time."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from siwatsystem.analysis.fragments import cut_to_whole
from siwatsystem.analysis.locks import bring_to_disk
from siwatsystem.frames import Image

ENCODER = "libx264"
_BASE = Fraction(1, 90_000)
_FRAGMENT_US = "1000000"


class Film:
    """Writes to `path` (mp4), under another name until `close`. All pictures get the size of the first.

    On a full disk nothing more is written, what is there stays playable, and `damage` says so.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._trouble: str | None = None
        self._is_lost = False
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        self._fps = fps or 25.0
        # Fragments can be played without the end of the file; closing makes it an ordinary mp4.
        self._container = av.open(
            # Absolute: FFmpeg takes what stands before a colon for a protocol.
            str(self._partial.absolute()),
            "w",
            options={"movflags": "hybrid_fragmented", "frag_duration": _FRAGMENT_US},
        )
        self._stream: VideoStream | None = None
        self._held: av.packet.Packet[VideoStream] | None = None
        self._last = -1

    @property
    def damage(self) -> str | None:
        """What is missing, and why; begins with the file's name."""
        if self._trouble is None:
            return None
        return f"{self.path.name} {'was not written' if self._is_lost else 'ends early'}: {self._trouble}"

    def add(self, image: Image, at: float) -> None:
        """One picture (H×W×3 BGR) from `at` seconds on, which must grow."""
        if self._trouble is not None:
            return
        try:
            stream = self._stream or self._begin(image)
        except (OSError, ValueError, av.error.FFmpegError) as error:  # no encoder, or not for such a size
            self._fail(error)
            return
        frame = VideoFrame.from_ndarray(_fitted(image, stream.width, stream.height), format="bgr24")
        frame.pts = self._last = max(round(at / _BASE), self._last + 1)
        frame.time_base = _BASE
        self._mux(frame)

    def close(self, end: float | None = None, *, parts: bool = True) -> bool:
        """Finish the film; its last picture stands until `end` seconds. Whether there is a film: without
        a picture there is none, nor where the disk was full from the start, or, unless `parts` are welcome,
        before the end."""
        if self._stream is not None:
            self._mux(None)
            if self._held is not None:
                last = self._last / 90_000 + 1 / self._fps
                self._write(self._held, round(max(end or 0.0, last) / _BASE))
        try:
            self._container.close()
        except (OSError, av.error.FFmpegError) as error:
            self._fail(error)
        try:
            whole = self._trouble is None
            if self._stream is not None and (whole or (parts and cut_to_whole(self._partial))):
                bring_to_disk(self._partial)
                self._partial.replace(self.path)
                return True
        except OSError as error:
            self._fail(error)
        self._is_lost = True
        self._partial.unlink(missing_ok=True)
        return False

    def discard(self) -> None:
        """Leave nothing."""
        self._is_lost = True
        with suppress(OSError, av.error.FFmpegError):
            self._container.close()
        self._partial.unlink(missing_ok=True)

    def _begin(self, image: Image) -> VideoStream:
        height, width = image.shape[:2]
        stream = self._container.add_stream(ENCODER, rate=Fraction(self._fps).limit_denominator(1001))
        # Colours are stored for two by two pixels.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        # Without frames that look ahead, packets come in the order of their times.
        stream.options = {"preset": "veryfast", "crf": "23", "bf": "0"}
        stream.codec_context.time_base = _BASE
        stream.codec_context.gop_size = max(1, round(2 * self._fps))
        self._stream = stream
        return stream

    def _mux(self, frame: VideoFrame | None) -> None:
        assert self._stream is not None
        if self._trouble is not None:
            return
        try:
            packets = self._stream.encode(frame)
        except (OSError, av.error.FFmpegError) as error:
            self._fail(error)
            return
        for packet in packets:
            if self._held is not None and packet.pts is not None:
                self._write(self._held, packet.pts)
            self._held = packet

    def _write(self, packet: "av.packet.Packet[VideoStream]", until: int) -> None:
        if self._trouble is not None:
            return
        packet.duration = until - (packet.pts or 0)
        try:
            self._container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            self._fail(error)

    def _fail(self, error: OSError | ValueError | av.error.FFmpegError) -> None:
        if self._trouble is None:
            self._trouble = getattr(error, "strerror", None) or str(error)


def _fitted(image: Image, width: int, height: int) -> Image:
    import cv2
    import numpy as np

    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    if (columns + columns % 2, rows + rows % 2) == (width, height):
        return np.pad(image, ((0, height - rows), (0, width - columns), (0, 0)), mode="edge")
    return np.asarray(cv2.resize(image, (width, height)), np.uint8)
