"""H.264 of a film for viewers that join at any time: no B-frames, two keyframes a second."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from siwatsystem.cameras.film import Film
from siwatsystem.frames import Frame

log = logging.getLogger(__name__)

CLOCK = 90_000
"""Time stamps a second."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One encoded picture, with start codes (Annex B)."""

    data: bytes
    shown_at: float
    """Seconds since the first one."""
    key: bool


class Encoder:
    """Encodes what a film shows, on a thread of its own (`encoder`), until it is closed.

    `take` gets each picture there; a film that changes its size begins anew.
    """

    def __init__(self, film: Film, take: Callable[[Unit], None]) -> None:
        self._film = film
        self._take = take
        self.failure: str | None = None
        """Why no more pictures are encoded, None while they are."""
        self._ended = threading.Event()
        self._codec: VideoCodecContext | None = None
        self._began: float | None = None
        self._last = -1
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)

    def _run(self) -> None:
        sequence = 0
        try:
            while not self._ended.is_set():
                frame = self._film.wait_newer(sequence, 0.5)
                if frame is not None:
                    sequence = frame.sequence
                    self._encode(frame)
        except Exception as error:
            log.exception("the encoder failed")
            self.failure = f"{type(error).__name__}: {error}"

    def _encode(self, frame: Frame) -> None:
        height, width = frame.shape
        # Colour is stored for four pixels together.
        width, height = width - width % 2, height - height % 2
        if self._codec is None or (self._codec.width, self._codec.height) != (width, height):
            self._codec = self._opened(width, height)
        self._began = self._began or frame.monotonic
        shown_at = frame.monotonic - self._began
        picture = VideoFrame.from_ndarray(frame.image[:height, :width], format="bgr24").reformat(
            format="yuv420p"
        )
        picture.pts = self._last = max(self._last + 1, int(shown_at * CLOCK))
        picture.time_base = Fraction(1, CLOCK)
        for packet in self._codec.encode(picture):
            self._take(Unit(bytes(packet), self._last / CLOCK, packet.is_keyframe))

    def _opened(self, width: int, height: int) -> VideoCodecContext:
        codec = av.CodecContext.create("libx264", "w")
        assert isinstance(codec, VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base = Fraction(1, CLOCK)
        codec.framerate = Fraction(max(1, round(self._film.fps)))
        codec.gop_size = max(1, round(self._film.fps / 2))
        codec.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "sc_threshold": "0"}
        codec.open()
        return codec
