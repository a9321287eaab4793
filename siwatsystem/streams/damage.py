"""From when on, and until which picture, what a decoder gives cannot be trusted."""

from collections import deque
from typing import TYPE_CHECKING

from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

if TYPE_CHECKING:  # generic for the checker only
    VideoPacket = Packet[VideoStream]

_REORDERED = 20
"""Keyframes that a decoder may hold back, where every picture is one."""


class Damage:
    """What was lost of one stream. Told each packet before it is decoded (`fed`), each error (`lose`), each
    picture that came out (`shows`).

    What is predicted from a damaged picture looks whole and shows what was never there, so after a loss
    nothing counts before the next whole keyframe. Pictures come later than their packets: a keyframe that
    comes out after the loss may have been before it. It heals where it is later than what was lost by its
    time stamp, or its packet was fed after the loss.
    """

    def __init__(self) -> None:
        self.stands = False
        """Whether the pictures that come now cannot be trusted."""
        self._lost: int | None = None
        """Newest time stamp of what was lost since the last healing."""
        self._fed: int | None = None
        self._keys: deque[int | None] = deque(maxlen=_REORDERED)
        """Time stamps of the keyframes' packets that were fed since the loss."""
        self._cut = False
        """Whether a part of the newest packet is missing."""

    def fed(self, packet: "VideoPacket") -> bool:
        """Note the packet that is decoded next. Returns whether it is lost: FFmpeg has marked it, or the
        one before. After a packet of which a part is missing, whole ones may be missing too, and in
        MPEG-TS the mark may be on the packet before the one that was cut."""
        lost = packet.is_corrupt or self._cut
        self.passed(packet)
        self._fed = packet.pts
        if lost:
            self.lose(packet.pts)
        elif packet.is_keyframe:
            self._keys.append(packet.pts)
        return lost

    def passed(self, packet: "VideoPacket") -> None:
        """Note a packet that is not decoded, or not yet."""
        self._cut = packet.is_corrupt

    def lose(self, pts: int | None = None) -> None:
        """The picture of that time stamp is lost; without one, that of the newest packet."""
        self.stands = True
        self._keys.clear()
        stamps = [one for one in (self._lost, self._fed if pts is None else pts) if one is not None]
        self._lost = max(stamps, default=None)

    def shows(self, frame: VideoFrame) -> bool:
        """Whether `frame`, the next that came out, can be trusted."""
        if frame.is_corrupt:
            self.lose(frame.pts)
        elif self.stands and is_key(frame) and self._is_later(frame.pts):
            self.stands = False
            self._lost = None
        return not self.stands

    def _is_later(self, pts: int | None) -> bool:
        if pts is not None and self._lost is not None and pts > self._lost:
            return True
        # A clock may have been set back since, or there is none.
        return pts in self._keys or (bool(self._keys) and (pts is None or None in self._keys))


def is_whole_jpeg(data: bytes) -> bool:
    """Whether the end of the picture is there. Neither marker occurs inside compressed data, and an end of
    a preview comes before the picture's own data."""
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def is_key(frame: VideoFrame) -> bool:
    """Whether the picture needs no other one. Where pictures are refreshed bit by bit, packets are called
    keyframes whose pictures are predicted."""
    return bool(frame.key_frame) and frame.pict_type not in (PictureType.P, PictureType.B)
