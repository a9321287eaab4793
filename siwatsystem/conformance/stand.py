"""The test stand: an HTTP server with cameras and archives, which counts who asks for what.

    /camera/NAME/video.mjpg      a stream of numbered pictures
    /camera/NAME/snapshot.jpg    the present one
    /archive/NAME.mpta           an archive

A camera of any name is there; each is counted for itself.
"""

import http.server
import select
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from siwatsystem.conformance import pattern
from siwatsystem.frames import encode_jpeg

RATE = 10
"""Pictures a second."""
BOUNDARY = "picture"
SEND_SEC = 10.0


@dataclass
class Asked:
    """What was asked of one camera. Times are those of `time.monotonic`."""

    streams: int = 0
    """That are open now."""
    most_streams: int = 0
    opened: int = 0
    snapshots: list[float] = field(default_factory=list[float])


class Stand:
    """A running test stand. Any thread may ask."""

    def __init__(self, host: str, port: int, archives: Mapping[str, bytes]) -> None:
        self.archives = dict(archives)
        self._host = host
        self._port = port
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}
        self._downloads: dict[str, int] = {}
        self._jpeg: tuple[int, bytes] = (-1, b"")
        self.closed = threading.Event()

    def video(self, name: str) -> str:
        return f"{self._base}/camera/{quote(name)}/video.mjpg"

    def snapshot(self, name: str) -> str:
        return f"{self._base}/camera/{quote(name)}/snapshot.jpg"

    def dead(self, name: str) -> str:
        """A camera that is not there: 404."""
        return f"{self._base}/camera/{quote(name)}/none.mjpg"

    def archive(self, name: str) -> str:
        return f"{self._base}/archive/{quote(name)}.mpta"

    @property
    def _base(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def asked(self, name: str) -> Asked:
        """What was asked of a camera so far."""
        with self._lock:
            found = self._asked.get(name, Asked())
            return Asked(found.streams, found.most_streams, found.opened, list(found.snapshots))

    def downloads(self, name: str) -> int:
        """How often an archive was fetched."""
        with self._lock:
            return self._downloads.get(name, 0)

    @property
    def number(self) -> int:
        """Of the present picture, not wrapped."""
        return int((time.monotonic() - self._began) * RATE)

    def age_of(self, number: int) -> float:
        """Seconds since the picture of that number was new; it is taken for younger than 25 seconds."""
        return self.age_at(number, time.monotonic())

    def age_at(self, number: int, at: float) -> float:
        """The same for a moment of `time.monotonic`."""
        return (int((at - self._began) * RATE) - number) % pattern.NUMBERS / RATE

    def picture(self) -> tuple[int, bytes]:
        """The present picture's number and JPEG."""
        number = self.number
        with self._lock:
            if self._jpeg[0] != number:
                self._jpeg = number, encode_jpeg(pattern.draw(number % pattern.NUMBERS))
            return self._jpeg

    def take_archive(self, name: str) -> bytes | None:
        with self._lock:
            if name in self.archives:
                self._downloads[name] = self._downloads.get(name, 0) + 1
            return self.archives.get(name)

    def note_snapshot(self, name: str) -> None:
        with self._lock:
            self._asked.setdefault(name, Asked()).snapshots.append(time.monotonic())

    @contextmanager
    def streaming(self, name: str) -> Generator[None]:
        with self._lock:
            asked = self._asked.setdefault(name, Asked())
            asked.streams += 1
            asked.opened += 1
            asked.most_streams = max(asked.most_streams, asked.streams)
        try:
            yield
        finally:
            with self._lock:
                asked.streams -= 1


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    stand: Stand

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: workers may leave whenever they like."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Answer(http.server.BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = SEND_SEC

    def do_GET(self) -> None:
        stand = self.server.stand
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if len(parts) == 3 and parts[0] == "camera" and parts[2] == "video.mjpg":
            with stand.streaming(parts[1]), suppress(OSError):
                self._stream(stand)
        elif len(parts) == 3 and parts[0] == "camera" and parts[2] == "snapshot.jpg":
            stand.note_snapshot(parts[1])
            self._send(200, "image/jpeg", stand.picture()[1])
        elif len(parts) == 2 and parts[0] == "archive":
            found = stand.take_archive(parts[1].removesuffix(".mpta"))
            self._send(200 if found is not None else 404, "application/zip", found or b"")
        else:
            self._send(404, "text/plain", b"no such thing\n")

    def do_HEAD(self) -> None:
        self._send(405, "text/plain", b"")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def _stream(self, stand: Stand) -> None:
        """Until the client leaves: one picture after the other, the newest each time."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        last = -1
        while not stand.closed.wait(0.01):
            if self._has_left():
                return
            number, jpeg = stand.picture()
            if number == last:
                continue
            last = number
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def _has_left(self) -> bool:
        """Whether the client has closed: told at once, not at the next picture that nobody takes."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line per picture helps nobody."""


@contextmanager
def running(archives: Mapping[str, bytes], host: str = "127.0.0.1", port: int = 0) -> Generator[Stand]:
    """A test stand that others reach under `host`, for as long as the block runs.

    It listens on that address alone where it is loopback, else on all. Raises OSError.
    """
    alone = host in ("127.0.0.1", "localhost", "::1")
    make = _Server6 if ":" in host else _Server
    bind = ("::1" if ":" in host else "127.0.0.1") if alone else ("::" if ":" in host else "")
    server = make((bind, port), _Answer)
    stand = server.stand = Stand(host, int(server.server_address[1]), archives)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="test stand", daemon=True)
    thread.start()
    try:
        yield stand
    finally:
        stand.closed.set()
        server.shutdown()
        thread.join()
        server.server_close()
