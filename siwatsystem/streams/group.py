"""The packets since a stream's last keyframe, kept undecoded for the case that they are needed after all."""

from typing import TYPE_CHECKING

from av.packet import Packet
from av.video.stream import VideoStream

if TYPE_CHECKING:  # generic for the checker only
    VideoPacket = Packet[VideoStream]

MOST_BYTES = 4_000_000
MOST_PACKETS = 500


class Group:
    """Packets hold their data themselves, so keeping them copies nothing."""

    def __init__(self) -> None:
        self._packets: list[VideoPacket] = []
        self._bytes = 0

    def add(self, packet: "VideoPacket") -> None:
        """Keep `packet`; a keyframe takes the place of all before it. What is too much is given up."""
        if packet.is_keyframe:
            self.clear()
        elif not self._packets:
            return
        self._packets.append(packet)
        self._bytes += packet.size
        if self._bytes > MOST_BYTES or len(self._packets) > MOST_PACKETS:
            self.clear()

    def take(self) -> "list[VideoPacket]":
        """All since the last keyframe, beginning with it; empty where it was not kept."""
        packets = self._packets
        self.clear()
        return packets

    def clear(self) -> None:
        self._packets = []
        self._bytes = 0
