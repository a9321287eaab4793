"""A whole worker on a loopback port, with one camera that shows pictures, for strangers to talk to."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import requests
import uvicorn
from fastapi import FastAPI
from websockets.sync.client import connect

from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.frames import encode_jpeg
from siwatsystem.server import configuration
from tests.servers import until

CAMERA = "display;camera"
TOKEN = "a-control-token-of-some-length-0123456789"
PICTURE = encode_jpeg(np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8))


class _Snapshot(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        self.wfile.write(PICTURE)

    def log_message(self, *_: Any) -> None: ...


@dataclass(frozen=True)
class Site:
    """Where a server is, and its application."""

    app: FastAPI
    port: int
    known: Callable[[str], dict[str, str]]
    """For the path of a route: what is there, by the name of the path's part."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def site(folder: Path) -> Generator[Site]:
    """A worker with a control token whose camera has shown a picture."""
    settings = Settings.model_validate({"data_dir": folder, "control_token": TOKEN, "logs": {"file": None}})
    app = create_app(settings)
    server = uvicorn.Server(configuration(app, settings, ("127.0.0.1", 0)))
    camera = ThreadingHTTPServer(("127.0.0.1", 0), _Snapshot)
    threads = [threading.Thread(target=server.run), threading.Thread(target=camera.serve_forever)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: server.started)
        made = Site(app, server.servers[0].sockets[0].getsockname()[1], _known)
        with connect(
            f"ws://127.0.0.1:{made.port}/", additional_headers=made.token, max_queue=None
        ) as backend:
            backend.send(json.dumps(_subscription(camera.server_address[1])))
            image = f"{made.url}/camera/{CAMERA}/image"
            until(lambda: requests.get(image, headers=made.token, timeout=10).status_code == 200)
            yield made
    finally:
        server.should_exit = True
        camera.shutdown()
        for thread in threads:
            thread.join(30)
        camera.server_close()


def _known(path: str) -> dict[str, str]:
    """A stream of a camera that is there does not end."""
    return {"camera_id": CAMERA} if path.endswith("/image") else {}


def _subscription(port: int) -> dict[str, Any]:
    payload = {
        "subscriptionIdentifier": CAMERA,
        "snapshotUrl": f"http://127.0.0.1:{port}/jpg",
        "snapshotInterval": 500,
        "modelUrl": "http://127.0.0.1:9/none.mpta",
        "modelName": "None",
        "modelId": 1,
    }
    return {"type": "subscribe", "payload": payload}
