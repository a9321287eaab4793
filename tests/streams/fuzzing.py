"""Broken answers of cameras against the decoder, in a process of its own: a native crash is seen by its end.

    python -m tests.streams.fuzzing rtsp|multipart|playlist|transport [--cases N] [--seed S]

Prints what became of the cases and the memory they took. Exits with 1 where anything but a StreamError
came out, or a case took far longer than its deadlines.
"""

import argparse
import logging
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import av
import cv2
import numpy as np

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamError, StreamRefused
from siwatsystem.streams.address import parse_address
from siwatsystem.streams.conversion import Decoded
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.decoder import open_container
from siwatsystem.streams.openers import open_camera
from siwatsystem.streams.reader import Opening, Reader
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import misbehaving
from tests.streams.scripted_rtsp import SDP, Rtp, Scripted, access_units, answer

SETTINGS = StreamSettings(connect_timeout_sec=0.3, read_timeout_sec=0.3)
LONGEST_SEC = 10.0
PIECES = [
    *(b"\r\n", b"\r\n\r\n", b"\0", b"%s%n", b"-1", b"0", b"4294967296", b"99999999999999999999", b":", b"="),
    *(b"a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0IAKeKQFAe2AtwEBAaQeJEV,aM48gA==\r\n",),
    *(b"a=rtpmap:96 H265/90000\r\n", b"a=rtpmap:96 MP4V-ES/90000\r\n", b"m=video 0 RTP/AVP 26\r\n"),
    *(b"a=range:npt=0-\r\n", b"c=IN IP4 255.255.255.255/127\r\n", b"a=control:rtsp://127.0.0.1:1/x\r\n"),
    *(b"--b\r\n", b"Content-Length: 2147483648\r\n", b'#EXT-X-KEY:METHOD=AES-128,URI="x"\n'),
    *(b'#EXT-X-MAP:URI="x",BYTERANGE="9@-9"\n', b"#EXTINF:nan,\n", b"file:///etc/passwd\n", b"x" * 5000),
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with some bits, pieces and lines changed."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
        at = chance.randrange(len(made) + 1)
        end = min(len(made), at + chance.choice((1, 2, 5, 20, 200)))
        match chance.randrange(6):
            case 0 if made:
                made[min(at, len(made) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                del made[at:end]
            case 2:
                made[at:at] = chance.choice(PIECES)
            case 3:
                made[at:at] = made[at:end] * chance.choice((1, 2, 50))
            case 4:
                made[at:end] = chance.randbytes(end - at)
            case _:
                made[at:end] = chance.choice(PIECES)
    return bytes(made[:200_000])


@contextmanager
def watched(cutoff: Cutoff) -> Generator[None]:
    """Keeps the cutoff's deadlines, as the pool's watchdog does."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            cutoff.check(time.monotonic())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def read(opened: Callable[[], Reader]) -> str:
    """What became of a case, in a word. Reads some pictures, and looks at them as a model would."""
    try:
        reader = opened()
    except StreamError as error:
        return type(error).__name__
    try:
        for _ in range(20):
            picture = reader.read()
            if picture is not None and isinstance(picture.image, Decoded):
                picture.image.whole()
    except StreamError:
        return "broke off"
    finally:
        reader.close()
    return "read"


def rtsp(chance: random.Random) -> str:
    """One attempt at an RTSP server of which one answer, or what follows PLAY, is broken."""
    units = access_units(12, range(0, 12, 4))
    what = chance.choice(["sdp", "sdp", "sdp", "DESCRIBE", "SETUP", "OPTIONS", "PLAY", "media"])

    def play(connection: object) -> None:
        rtp = Rtp(connection)  # pyright: ignore[reportArgumentType]
        for unit in units:
            rtp.send(mutated(unit.data, chance) if what == "media" else unit.data, unit.number / 20)

    more = ["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Content-Type: application/sdp"]
    whole = answer("{cseq}", SDP, "200 OK", *more, 'WWW-Authenticate: Digest realm="x"', "Content-Base: x")
    sdp = mutated(SDP.encode(), chance).decode("latin-1") if what == "sdp" else SDP
    instead = {what: mutated(whole, chance)} if what.isupper() else {}
    with misbehaving(Scripted(play, sdp, instead)) as port:
        url = f"rtsp://127.0.0.1:{port}/x"
        cutoff = Cutoff()
        opening = Opening(SourceSpec(url), parse_address(url, SETTINGS), SETTINGS, cutoff, 0.1)
        with watched(cutoff):
            return read(lambda: open_camera(opening))


def container(data: bytes, options: Mapping[str, Any]) -> str:
    url = "http://127.0.0.1/x"
    cutoff = Cutoff()
    opening = Opening(SourceSpec(url), parse_address(url, SETTINGS), SETTINGS, cutoff, 0.1)

    def refuse(*_: object) -> None:
        raise StreamRefused("nothing is fetched here")

    return read(lambda: open_container(BytesIO(data), opening, {}, io_open=refuse, **options))


def multipart(chance: random.Random) -> str:
    done, image = cv2.imencode(".jpg", np.full((24, 32, 3), 90, np.uint8))
    assert done
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
    return container(mutated(part % (len(image), image.tobytes()) * 3, chance), {"format": "mpjpeg"})


def playlist(chance: random.Random) -> str:
    lines = b'#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI="i"\n'
    more = b'#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nlow.m3u8\n' if chance.random() < 0.3 else b""
    data = lines + more + b"#EXTINF:2.0,\n#EXT-X-BYTERANGE:7@9\na.ts\n#EXTINF:2.0,\nb.ts\n"
    return container(mutated(data, chance), {"format": "hls"})


def transport(chance: random.Random) -> str:
    return container(mutated(_film(), chance), {})


_made: list[bytes] = []


def _film() -> bytes:
    """A second of MPEG-TS."""
    if not _made:
        file = BytesIO()
        with av.open(file, "w", format="mpegts") as out:
            stream = out.add_stream("libx264", rate=20)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for level in range(20):
                picture = np.full((48, 64, 3), level * 10, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            out.mux(stream.encode())
        _made.append(file.getvalue())
    return _made[0]


KINDS: dict[str, Callable[[random.Random], str]] = {
    "rtsp": rtsp,
    "multipart": multipart,
    "playlist": playlist,
    "transport": transport,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Broken answers of cameras against the decoder.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found: Counter[str] = Counter()
    longest, bad = 0.0, 0
    for number in range(options.cases):
        began = time.monotonic()
        try:
            found[KINDS[options.kind](random.Random(f"{options.seed}/{number}"))] += 1
        except Exception as error:
            bad += 1
            print(f"case {number}: {type(error).__name__}: {error}", flush=True)
        longest = max(longest, time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{dict(found)}, longest {longest:.2f} s, at most {peak} MB")
    return int(bad > 0 or longest > LONGEST_SEC)


if __name__ == "__main__":
    sys.exit(main())
