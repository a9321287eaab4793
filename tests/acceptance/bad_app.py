"""An analysis app that does not keep to the contract, in the way that its config says.

`python bad_app.py --server ws://… --config PATH --streams N`; the config's text is the way.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

LONG = 60.0
CAMERA = {"stream_id": 0, "camera_id": 99, "request_id": "run:nobody#1"}
STRAYS: tuple[dict[str, Any], ...] = (
    {"type": "analysis_started", **CAMERA, "status": "ok"},
    {"type": "push_ack", **CAMERA, "status": "error", "error_reason": "no"},
    {"type": "processing_started", **CAMERA, "file_id": 5, "current_file": "/x"},
    {"type": "file_done", **CAMERA, "file_id": 5, "processed_file": "/x"},
    {"type": "file_done", **CAMERA, "stream_id": 200, "file_id": 5, "processed_file": "/x"},
    {"type": "analysis_complete", **CAMERA, "status": "done", "processed_count": 7, "message": ""},
    {"type": "analysis_interrupted", **CAMERA, "status": "ok"},
    {"type": "analysis_status", "streams": [{"stream_id": 77, "status": "error", "cameras": []}]},
)


def ready(socket: ClientConnection, options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    said = {
        "type": "app_ready",
        "instance_id": os.environ["APP_ID"],
        "config_path": options.config,
        "process_id": os.getpid(),
        "streams_count": options.streams,
        "status": "ready",
        "version": "1",
        "start_time": "2026-11-21T08:00:00Z",
    }
    socket.send(json.dumps({**said, **more}))
    return json.loads(socket.recv(LONG))


def misbehave(way: str, options: argparse.Namespace) -> None:
    if way == "dies":
        sys.exit("no GPU memory is left")
    if way == "never connects":
        time.sleep(LONG)
    if way == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with connect(options.server, max_size=None) as socket:
        match way:
            case "says nothing":
                time.sleep(LONG)
            case "another id":
                ready(socket, options, instance_id="somebody")
                socket.recv(LONG)
            case "another path":
                ready(socket, options, config_path="/configs/other.txt")
                socket.recv(LONG)
            case "another count":
                ready(socket, options, streams_count=5)
                socket.recv(LONG)
            case "floods":
                ready(socket, options)
                while True:
                    socket.send(json.dumps({"type": "metrics_response", "cpu_percent": 1, "ram_mb": 1}))
            case "too large":
                ready(socket, options)
                socket.send(json.dumps({"type": "metrics_response", "x": "x" * 2**20}))
                socket.recv(LONG)
            case "too deep":
                ready(socket, options)
                socket.send("[" * 40 + "]" * 40)
                socket.recv(LONG)
            case "answers nobody":
                ready(socket, options)
                for stray in STRAYS:
                    socket.send(json.dumps(stray))
                socket.send(json.dumps({"type": "metrics_response", "cpu_percent": 7, "ram_mb": 1}))
                time.sleep(LONG)
            case _:
                ready(socket, options)
                time.sleep(LONG)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--streams", type=int, default=1)
    chosen = parser.parse_args()
    try:
        misbehave(Path(chosen.config).read_text().strip(), chosen)
    except ConnectionClosed as closed:
        sys.exit(f"closed: {closed.rcvd.code if closed.rcvd else None}")
