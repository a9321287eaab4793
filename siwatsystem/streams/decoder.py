"""Pictures out of an FFmpeg container: of the packets that are needed, conversion left to whoever looks."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
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
from siwatsystem.streams.arrivals import Arrivals
from siwatsystem.streams.containers import METADATA_ERRORS
from siwatsystem.streams.conversion import Decoded
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.damage import Damage, is_key, is_whole_jpeg
from siwatsystem.streams.group import Group
from siwatsystem.streams.hardware import FORMAT, gpu_context
from siwatsystem.streams.interrupt import interruptible
from siwatsystem.streams.policy import DecodePolicy, Step
from siwatsystem.streams.reader import Opening, Picture

log = logging.getLogger(__name__)

_REORDERED = 20
"""Keyframes that a decoder may hold back, where every picture is one."""
_MOST_FAILURES = 5
"""Packets in a row that may be damaged rather than too much for the GPU."""
_IN_WORDS = {"all": "every frame", "keyframes": "keyframes alone"}
_GIVEN_UP = 0.9
"""Part of the time-out after which a read that still gave something was given up by FFmpeg."""
_NO_TEXT = "what the camera answers names something in no text that can be read"
_PROBE = {"probesize": "1000000", "analyzeduration": "1000000"}


def open_container(
    source: object,
    opening: Opening,
    options: dict[str, str],
    leaves: Callable[[], bool] | None = None,
    **more: object,
) -> "Decoder":
    """Open what FFmpeg can open (an address, a path, an object with `read`). Raises StreamError.

    `leaves` is asked meanwhile whether to give up (see `interruptible`).
    """
    settings = opening.settings
    seconds = settings.connect_timeout_sec + settings.read_timeout_sec
    late = f"the camera did not describe its stream within {seconds:g} s"
    began = time.monotonic()
    try:
        with opening.cutoff.limit(seconds, late), interruptible(opening.cutoff, leaves):
            more = {"metadata_errors": METADATA_ERRORS, **more}
            container = av.open(source, options={**_PROBE, **options}, timeout=(seconds, seconds), **more)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except av.error.FFmpegError as error:
        if opening.cutoff.reason is None and time.monotonic() - began > 0.9 * settings.read_timeout_sec:
            # FFmpeg calls an answer that did not come in time invalid data.
            raise StreamUnreachable("the camera does not answer in time") from None
        raise stream_error(error, opening.cutoff) from None
    except UnicodeError:
        raise StreamUnreachable(_NO_TEXT) from None
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
        software = self.stream.codec_context
        if software is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise StreamUnreachable("what the camera sends is encoded in a way that nothing here decodes")
        # Frame threads would add a frame of delay each; slices add none.
        self.stream.thread_type = "SLICE"
        software.thread_count = 2
        on_gpu = opening.settings.decode_device == "auto"
        gpu = gpu_context(software.codec.canonical_name, software.extradata) if on_gpu else None
        self._context = gpu or software
        self._is_jpeg = software.codec.canonical_name == "mjpeg"
        self._failures = 0
        """Packets in a row that the GPU could not decode."""
        base = self.stream.time_base
        self._base = None if base is None else float(base)
        self.skipped_to: float | None = None
        """Time stamp (seconds) of the newest packet where it was not decoded, else None."""
        self._container = container
        self._cutoff = opening.cutoff
        self._timeout = opening.settings.read_timeout_sec
        label = opening.spec.label
        self._errors = metrics.DECODE_ERRORS.labels(label)
        self._received = metrics.PACKETS_RECEIVED.labels(label)
        self._decoded = metrics.FRAMES_DECODED.labels(label)
        self._packets = self._demux()
        self.on_packet: Callable[[VideoPacket], None] | None = None
        """Told of each packet before it is decoded, in the reader's thread."""
        self._policy = DecodePolicy(opening.settings.decode, opening.interval_sec)
        self._decoding = opening.decoding
        self._label = label
        self._group = Group()
        self._keys: deque[int | None] = deque(maxlen=_REORDERED)
        """Time stamps of the newest packets that are called keyframes."""
        self._damage = Damage()
        self._arrivals = Arrivals()
        self._before: VideoPacket | None = None
        """The newest packet."""
        self.shows_end = False
        """Whether the pictures that the decoder holds back are shown at the end. They are a recording's last
        ones; of a camera that has gone they would be old, and look like new ones."""
        self._held: deque[VideoFrame] = deque()
        """Whole pictures that the decoder held back until the end, not given yet."""
        self._headless = False
        """Whether the decoder lacks the keyframe of the packets that come: what is predicted from pictures
        that were not decoded is wrong, and not marked as such."""
        self._tell()

    def read(self) -> Picture | None:
        """The next picture; None when a packet gave none. Raises StreamError when the stream ends."""
        found = self.read_frame()
        if found is None:
            return None
        frame, captured_at, monotonic = found
        return Picture(Decoded(frame), captured_at, monotonic)

    def read_frame(self) -> tuple[VideoFrame, float, float] | None:
        """The next decoded frame with its own packet's arrival on both clocks; see `read`."""
        if self._held:
            return self._held.popleft(), time.time(), time.monotonic()
        late = f"no packet within {self._timeout:g} s"
        began = time.monotonic()
        try:
            with self._cutoff.limit(self._timeout, late), interruptible(self._cutoff):
                packet = next(self._packets)
        except StopIteration:
            raise StreamLost("the stream has ended") from None
        except av.error.EOFError:
            raise StreamLost("the stream has ended") from None
        except av.error.FFmpegError as error:
            raise stream_error(error, self._cutoff) from None
        except UnicodeError:
            raise StreamUnreachable(_NO_TEXT) from None
        captured_at, monotonic = time.time(), time.monotonic()
        self.skipped_to = None
        if monotonic - began > _GIVEN_UP * self._timeout:
            # What FFmpeg had of the next packet when it gave up on a silent camera: old, and not whole.
            return None
        if packet.size == 0:
            if self.shows_end and packet.pts is None and packet.dts is None:
                self._end()
            return None
        self._received.inc()
        if self.on_packet is not None:
            self.on_packet(packet)
        if self._is_repeated(packet):
            return None
        self._arrivals.note(packet.pts, (captured_at, monotonic))
        frame = self._take(packet, monotonic)
        return None if frame is None else (frame, *self._arrivals.of(frame.pts, (captured_at, monotonic)))

    def seconds(self, pts: int | None) -> float | None:
        """A time stamp of the stream in seconds."""
        return None if pts is None or self._base is None else pts * self._base

    def rewind(self) -> None:
        """Begin a file again."""
        try:
            self._container.seek(0)
        except av.error.FFmpegError as error:
            raise stream_error(error, self._cutoff) from None
        self._context.flush_buffers()
        self._group.clear()
        self._held.clear()
        self._damage = Damage()
        self._before = None
        self._packets = self._demux()

    def close(self) -> None:
        self._packets = iter(())
        self._container.close()

    def _demux(self) -> "Iterator[VideoPacket]":
        return iter(self._container.demux(self.stream))

    def _is_repeated(self, packet: "VideoPacket") -> bool:
        """Whether it is the one before once more. That is no new picture, unlike one that looks the same."""
        before, self._before = self._before, packet
        if before is None or packet.pts is None or (packet.pts, packet.size) != (before.pts, before.size):
            return False
        return bytes(packet) == bytes(before)

    def _take(self, packet: "VideoPacket", monotonic: float) -> VideoFrame | None:
        """The newest whole picture that `packet` gives, if its policy has it decoded."""
        key = packet.is_keyframe
        step = self._policy.packet(key, monotonic, self.seconds(packet.pts))
        if key:
            self._keys.append(packet.pts)
            self._tell()
        match step:
            case Step.FEED:
                self._headless = self._headless and not key
                if self._headless:
                    self._damage.passed(packet)
                    return None
                return self._newest(self._feed(packet))
            case Step.ALONE:
                self._keep(packet)
                return self._alone(packet)
            case Step.SKIP:
                self._keep(packet)
                self._damage.passed(packet)
                self.skipped_to = self.seconds(packet.pts)
                return None
            case Step.CATCH_UP:
                self._tell()
                return self._catch_up(packet)

    def _end(self) -> None:
        """Have the decoder give what it held back: no packet follows."""
        if self._policy.in_force == "all" and not self._headless:
            self._held.extend(self._whole(self._feed(None)))

    def _keep(self, packet: "VideoPacket") -> None:
        if self._policy.mode == "auto":
            self._group.add(packet)

    def _alone(self, packet: "VideoPacket") -> VideoFrame | None:
        """The picture of a keyframe, for which a decoder that reorders would await further packets."""
        self._context.flush_buffers()
        frames = self._feed(packet)
        if not frames:
            frames = self._feed(None)
            self._context.flush_buffers()
        frame = self._newest([frame for frame in frames if is_key(frame)])
        if frame is None:
            self._policy.broken_keyframe()
            self._headless = True
            self._tell()
        return frame

    def _catch_up(self, packet: "VideoPacket") -> VideoFrame | None:
        """Decode all since the newest keyframe: what was skipped is needed after all.

        Where something of it is damaged, nothing is shown: the picture before that is too old."""
        self._keep(packet)
        packets = self._group.take()
        self._context.flush_buffers()
        self._headless = not packets
        newest: VideoFrame | None = None
        for one in packets:
            newest = self._newest(self._feed(one)) or newest
        return None if self._damage.stands else newest

    def _feed(self, packet: "VideoPacket | None") -> list[VideoFrame]:
        """All pictures that come out for it; after None, all that were held back."""
        if packet is not None and self._damage.fed(packet):
            self._errors.inc()
        if packet is not None and self._is_jpeg and not is_whole_jpeg(bytes(packet)):
            # FFmpeg fills up what is missing and marks nothing.
            self._errors.inc()
            return []
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            self._damage.lose()
            self._errors.inc()
            self._failed()
            return []
        if frames:
            self._failures = 0
            self._decoded.inc(len(frames))
            self._decoding.device = "cuda" if frames[0].format.name == FORMAT else "cpu"
        return frames

    def _failed(self) -> None:
        """Decode without the GPU from the next keyframe on, if it fails again and again."""
        self._failures += 1
        if self._context is self.stream.codec_context or self._failures < _MOST_FAILURES:
            return
        log.warning("%s: the GPU cannot decode it, the CPU does", self._label)
        self._context = self.stream.codec_context
        self._decoding.device = "cpu"
        self._headless = True

    def _newest(self, frames: list[VideoFrame]) -> VideoFrame | None:
        """The last of `frames`, if it is whole."""
        whole = self._whole(frames)
        return whole[-1] if whole and whole[-1] is frames[-1] else None

    def _whole(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        """Those of `frames` that can be trusted."""
        whole: list[VideoFrame] = []
        for frame in frames:
            if frame.is_corrupt:
                self._errors.inc()
            elif is_key(frame) and frame.pts in self._keys:
                self._policy.whole_keyframe()
            if self._damage.shows(frame):
                whole.append(frame)
        return whole

    def _tell(self) -> None:
        """Let others know what is in force."""
        decoding, policy = self._decoding, self._policy
        decoding.keyframe_sec = policy.keyframe_sec
        if decoding.policy != policy.in_force:
            decoding.policy = policy.in_force
            log.info("%s: decoding %s", self._label, _IN_WORDS[policy.in_force])


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
