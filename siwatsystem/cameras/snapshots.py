"""A film's newest picture over HTTP, as cameras offer it: `/snapshot`, `/snapshot.jpg`, `/status`."""

import json
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from siwatsystem.cameras.film import Film
from siwatsystem.errors import StreamUnreachable
from siwatsystem.frames import encode_jpeg

log = logging.getLogger(__name__)

_QUALITY = 90


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], film: Film) -> None:
        super().__init__(address, _Answer)
        self.film = film

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes in the midst of an answer is nothing to tell."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            log.exception("an answer failed", exc_info=error)


class _Answer(BaseHTTPRequestHandler):
    """One connection; a thread each."""

    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        film, frame = self.server.film, self.server.film.latest
        match self.path.partition("?")[0]:
            case "/snapshot" | "/snapshot.jpg":
                if frame is None or not film.online:
                    self._send(503, "application/json", b'{"status": "no picture"}')
                else:
                    self._send(200, "image/jpeg", encode_jpeg(frame.image, _QUALITY))
            case "/status":
                height, width = frame.shape if frame is not None else (0, 0)
                status = "ok" if film.online and frame is not None else "no picture"
                told = {"status": status, "width": width, "height": height, "fps": film.fps}
                self._send(200, "application/json", json.dumps(told).encode())
            case _:
                self._send(404, "application/json", b'{"status": "/snapshot, /snapshot.jpg or /status"}')

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        # A picture out of a cache would look like one of now.
        self.send_header("Cache-Control", "no-store, max-age=0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not a line for each picture."""


class SnapshotServer:
    """Serves until it is left. Raises StreamUnreachable where the port is taken."""

    def __init__(self, film: Film, host: str, port: int) -> None:
        try:
            self._server = _Server((host, port), film)
        except OSError as error:
            raise StreamUnreachable(f"port {port} of {host}: {error.strerror or error}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="snapshots", daemon=True)

    def __enter__(self) -> "SnapshotServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
