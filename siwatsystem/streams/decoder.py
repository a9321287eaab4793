"""Pictures out of an FFmpeg container: every packet decoded, conversion left to whoever looks."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import av
import av.error
import av.packet
from av.container import InputContainer
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from siwatsystem import metrics
from siwatsystem.errors import StreamError, StreamLost, StreamNotFound, StreamUnauthorized, StreamUnreachable
from siwatsystem.streams.containers import METADATA_ERRORS
from siwatsystem.streams.conversion import Decoded
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.interrupt import interruptible
from siwatsystem.streams.reader import Opening, Picture

_PROBE = {"probesize": "1000000", "analyzeduration": "1000000"}


def open_container(source: object, opening: Opening, options: dict[str, str], **more: object) -> "Decoder":
    """Open what FFmpeg can open (an address, a path, an object with `read`). Raises StreamError."""
    settings = opening.settings
    seconds = settings.connect_timeout_sec + settings.read_timeout_sec
    late = f"the camera did not describe its stream within {seconds:g} s"
    began = time.monotonic()
    try:
        with opening.cutoff.limit(seconds, late), interruptible(opening.cutoff):
            more = {"metadata_errors": METADATA_ERRORS, **more}
            container = av.open(source, options={**_PROBE, **options}, timeout=(seconds, seconds), **more)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except av.error.FFmpegError as error:
        if opening.cutoff.reason is None and time.monotonic() - began > 0.9 * settings.read_timeout_sec:
            # FFmpeg calls an answer that did not come in time invalid data.
            raise StreamUnreachable("the camera does not answer in time") from None
        raise stream_error(error, opening.cutoff) from None
    assert isinstance(container, InputContainer)
    try:
        return Decoder(container, opening)
    except StreamError:
        container.close()
        raise


if TYPE_CHECKING:  # generic for the checker only
    VideoPacket = av.packet.Packet[VideoStream]


class Decoder:
    """Decodes the first video stream of a container. Closes the container."""

    def __init__(self, container: InputContainer, opening: Opening) -> None:
        if not container.streams.video:
            raise StreamUnreachable("what the camera sends holds no video")
        self.stream = container.streams.video[0]
        for other in container.streams:
            if other is not self.stream:
                other.discard = Discard.all
        # Frame threads would add a frame of delay each; slices add none.
        self.stream.thread_type = "SLICE"
        self.stream.codec_context.thread_count = 2
        self._container = container
        self._cutoff = opening.cutoff
        self._timeout = opening.settings.read_timeout_sec
        self._errors = metrics.DECODE_ERRORS.labels(opening.spec.label)
        self._packets = self._demux()
        self._damaged = False

    def read(self) -> Picture | None:
        """The next picture; None when a packet gave none. Raises StreamError when the stream ends."""
        found = self.read_frame()
        if found is None:
            return None
        frame, captured_at, monotonic = found
        return Picture(Decoded(frame), captured_at, monotonic)

    def read_frame(self) -> tuple[VideoFrame, float, float] | None:
        """The next decoded frame with its packet's arrival on both clocks; see `read`."""
        late = f"no packet within {self._timeout:g} s"
        try:
            with self._cutoff.limit(self._timeout, late), interruptible(self._cutoff):
                packet = next(self._packets)
        except StopIteration:
            raise StreamLost("the stream has ended") from None
        except av.error.EOFError:
            raise StreamLost("the stream has ended") from None
        except av.error.FFmpegError as error:
            raise stream_error(error, self._cutoff) from None
        captured_at, monotonic = time.time(), time.monotonic()
        if packet.size == 0:
            return None
        # Policies that skip packets nobody needs belong here.
        frame = self._decode(packet)
        return None if frame is None else (frame, captured_at, monotonic)

    def rewind(self) -> None:
        """Begin a file again."""
        try:
            self._container.seek(0)
        except av.error.FFmpegError as error:
            raise stream_error(error, self._cutoff) from None
        self.stream.codec_context.flush_buffers()
        self._packets = self._demux()

    def close(self) -> None:
        self._packets = iter(())
        self._container.close()

    def _demux(self) -> "Iterator[VideoPacket]":
        return iter(self._container.demux(self.stream))

    def _decode(self, packet: "VideoPacket") -> VideoFrame | None:
        """The newest whole picture in `packet`.

        After an error nothing counts before the next keyframe: what is predicted from a damaged
        picture looks whole and shows what was never there.
        """
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            self._damage()
            return None
        newest: VideoFrame | None = None
        for frame in frames:
            if frame.is_corrupt:
                self._damage()
            elif frame.key_frame or not self._damaged:
                self._damaged = False
                newest = frame
        return newest

    def _damage(self) -> None:
        self._damaged = True
        self._errors.inc()


def stream_error(error: av.error.FFmpegError, cutoff: Cutoff) -> StreamError:
    """What FFmpeg's error means, in words of ours: its own name the address with its password."""
    if cutoff.reason is not None:
        return StreamUnreachable(cutoff.reason)
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return StreamUnauthorized()
        case av.error.HTTPNotFoundError() | av.error.FileNotFoundError():
            return StreamNotFound()
        case av.error.ConnectionRefusedError():
            return StreamUnreachable("the connection was refused")
        case av.error.TimeoutError() | av.error.ExitError():
            return StreamUnreachable("the camera does not answer in time")
        case av.error.InvalidDataError():
            return StreamUnreachable("what the camera answers is no video stream")
        case _:
            return StreamUnreachable(f"the camera cannot be read ({error.strerror})")
