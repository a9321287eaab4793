"""An HTTP camera: the present picture of a clip that plays for ever, as JPEG.

    python -m demo.cameras.snapshot_server CLIP.mp4 [--port N] [--user U --password P] [--digest]

Serves `/snapshot`, `/snapshot.jpg` and `/status`. Prints `listening http://127.0.0.1:PORT`.
"""

import argparse
import itertools
import json
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from demo.cameras.login import Login
from demo.cameras.player import Player


class Camera(ThreadingHTTPServer):
    """One HTTP camera; a thread per connection."""

    daemon_threads = True

    def __init__(self, port: int, clip: Path, login: Login) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.clip = clip.name
        self.player = Player(clip)
        self.login = login
        self.count = itertools.count(1)
        self.pictures = 0


class Answer(BaseHTTPRequestHandler):
    """Answers one connection of a `Camera`."""

    server: Camera
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self.server.login.allows("GET", self.headers.get("Authorization")):
            self._send(401, "text/plain", b"", {"WWW-Authenticate": self.server.login.challenge})
        elif path in ("/snapshot", "/snapshot.jpg"):
            self.server.pictures = next(self.server.count)
            self._send(200, "image/jpeg", self.server.player.jpeg())
        elif path == "/status":
            self._send(200, "application/json", json.dumps(self._status()).encode())
        else:
            self._send(404, "text/plain", b"no such picture\n")

    def _status(self) -> dict[str, object]:
        player = self.server.player
        return {
            "clip": self.server.clip,
            "length_sec": round(player.length_sec, 3),
            "position_sec": round(player.position_sec, 3),
            "pictures": self.server.pictures,
        }

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Cache-Control": "no-store", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line per picture helps nobody."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the present picture of a clip as JPEG.")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--digest", action="store_true", help="digest instead of basic authentication")
    options = parser.parse_args()
    login = Login(options.user, options.password, digest=options.digest)
    with Camera(options.port, options.clip, login) as camera:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        print(f"listening http://127.0.0.1:{camera.server_address[1]}", flush=True)
        camera.serve_forever()


if __name__ == "__main__":
    main()
