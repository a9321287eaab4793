"""A snapshot camera that can be told to misbehave."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket

import av
import cv2
import numpy as np

from tests.cameras import misbehaving

PICTURES = 60
"""Pictures of the clip that it shows in turn."""
WAYS = ("well", "slow", "empty", "garbage", "half", "unavailable")


class SnapshotCamera:
    """Answers each request with the next picture of a clip, or as `way` says."""

    def __init__(self, clip: Path) -> None:
        self.way = "well"
        self.port = 0
        self._pictures = itertools.cycle(_pictures(clip))
        self._noise = np.random.default_rng(1).bytes(40_000)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/snapshot"

    def serve(self, connection: socket) -> None:
        """One connection, for as long as it is kept open."""
        while connection.recv(65536):
            way, picture = self.way, next(self._pictures)
            if way == "slow":
                self._trickle(connection, picture)
                return
            body = {"empty": b"", "garbage": self._noise, "unavailable": b"busy"}.get(way, picture)
            status = "503 Service Unavailable" if way == "unavailable" else "200 OK"
            connection.sendall(_head(status, len(body)) + body[: len(body) // 2 if way == "half" else None])
            if way == "half":
                return

    def _trickle(self, connection: socket, picture: bytes) -> None:
        """A byte a second, until the other side has enough of it."""
        connection.sendall(_head("200 OK", len(picture)))
        connection.settimeout(1.0)
        for byte in picture:
            connection.sendall(bytes([byte]))
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return
            if self.way != "slow":
                return


@contextmanager
def snapshot_camera(clip: Path) -> Iterator[SnapshotCamera]:
    """A running one."""
    camera = SnapshotCamera(clip)
    with misbehaving(camera.serve) as camera.port:
        yield camera


def _head(status: str, size: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\nContent-Length: {size}\r\n\r\n".encode()


def _pictures(clip: Path) -> list[bytes]:
    """Pictures from all over the clip, as JPEG."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        every = max(1, (stream.frames or PICTURES) // PICTURES)
        frames = itertools.islice(container.decode(stream), 0, None, every)
        return [cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes() for frame in frames]
