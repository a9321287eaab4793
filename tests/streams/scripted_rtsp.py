"""An RTSP server that answers by the book, or as a test says, and sends what a test says after PLAY."""

import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:one\r\n"
)
Play = Callable[[socket.socket], None]


def silent(connection: socket.socket) -> None:
    """Keep the connection open and send nothing."""
    while connection.recv(65536):
        pass


def answer(number: str, body: str = "", head: str = "200 OK", *more: str) -> bytes:
    lines = [f"RTSP/1.0 {head}", f"CSeq: {number}", *more, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


@dataclass
class Scripted:
    """Serves connections of `misbehaving`. `instead`: raw answers to methods (`{cseq}` is filled in)."""

    play: Play = silent
    sdp: str = SDP
    instead: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    unless: str = "\0"
    """What a request holds that is answered by the book all the same."""
    asked: list[str] = field(default_factory=list[str])
    """Every request."""

    def __call__(self, connection: socket.socket) -> None:
        waiting = b""
        while data := connection.recv(65536):
            waiting += data
            while b"\r\n\r\n" in waiting:
                request, _, waiting = waiting.partition(b"\r\n\r\n")
                if self._answer(connection, request.decode("latin-1")):
                    self.play(connection)
                    return

    def _answer(self, connection: socket.socket, request: str) -> bool:
        """Returns whether it was PLAY."""
        self.asked.append(request)
        method = request.split(" ", 1)[0]
        number = request.partition("CSeq: ")[2].partition("\r\n")[0]
        if method in self.instead and self.unless not in request:
            connection.sendall(self.instead[method].replace(b"{cseq}", number.encode()))
            return False
        more: list[str] = ["Session: 12345678"]
        if method == "DESCRIBE":
            more = ["Content-Type: application/sdp"]
        elif method == "SETUP":
            more.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        elif method == "OPTIONS":
            more = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"]
        connection.sendall(answer(number, self.sdp if method == "DESCRIBE" else "", "200 OK", *more))
        return method == "PLAY"


def interleaved(channel: int, data: bytes) -> bytes:
    return b"$" + struct.pack("!BH", channel, len(data)) + data


def rtcp_only(connection: socket.socket) -> None:
    """Sender reports for ever, and no picture."""
    while True:
        report = struct.pack("!BBHIIIIII", 0x80, 200, 6, 1, int(time.time()) + 2208988800, 0, 0, 0, 0)
        connection.sendall(interleaved(1, report))
        time.sleep(0.1)


class Rtp:
    """Sends encoded pictures as RTP packets, each NAL unit whole (they are small)."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._number = 0

    def send(self, access_unit: bytes, seconds: float) -> None:
        units = [one.strip(b"\0") for one in access_unit.split(b"\0\0\1") if one.strip(b"\0")]
        for index, unit in enumerate(units):
            last = index == len(units) - 1
            kind = 96 | (0x80 if last else 0)
            head = struct.pack("!BBHII", 0x80, kind, self._number % 65536, int(seconds * 90000) % 2**32, 1)
            self._connection.sendall(interleaved(0, head + unit))
            self._number += 1


class Unit(NamedTuple):
    """An encoded picture and its place in the order in which they are shown."""

    data: bytes
    number: int


def access_units(count: int, keys: range, bframes: int = 0, level: int = 30, step: int = 4) -> list[Unit]:
    """Encoded H.264 pictures of 64×48 in decoding order, their brightness telling their number."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 64, 48, "yuv420p"
    context.framerate = 20  # pyright: ignore[reportAttributeAccessIssue]
    context.gop_size = 1000
    options = {"sc_threshold": "0", "forced-idr": "1", "crf": "5", "bf": str(bframes), "b_strategy": "0"}
    context.options = {**options, "x264-params": "repeat-headers=1:b-pyramid=0"}
    made: list[Unit] = []
    for number in range(count):
        planes = np.full((72, 64), 128, np.uint8)
        planes[:48] = level + number % 50 * step
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        frame.pict_type = PictureType.I if number in keys else PictureType.NONE
        made += [Unit(bytes(packet), packet.pts or 0) for packet in context.encode(frame)]
    return made + [Unit(bytes(packet), packet.pts or 0) for packet in context.encode(None)]
