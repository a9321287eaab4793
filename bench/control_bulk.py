"""What one request of 10,000 files costs everybody else who asks the control server meanwhile.

    python -m bench.control_bulk [--files 10000] [--rounds 5]

Each round starts a request, which waits in its slot's line, and cancels it; from the second on that makes the
server forget older ones. A thread asks `/health` all the while.
"""

import http.client
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from bench.control import Site, quantiles, site

BESIDE = "beside"
PAUSE_SEC = 0.01


class Beside:
    """Asks how the server is, all the time; `during` names what happens meanwhile."""

    def __init__(self, port: int) -> None:
        self.during = BESIDE
        self.took: dict[str, list[float]] = {}
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.wait(PAUSE_SEC):
            began, during = time.monotonic(), self.during
            connection.request("GET", "/deepstream/health")
            connection.getresponse().read()
            self.took.setdefault(during, []).append((time.monotonic() - began) * 1000)


def one_round(one: Site, beside: Beside, number: int, text: bytes) -> None:
    """A request that waits, and its end."""
    headers = {"content-type": "application/json"}
    request_id = f"bulk{number}"
    beside.during = "start"
    body = text.replace(b'"REQUEST"', json.dumps(request_id).encode())
    one.http.post("/analysis/start", content=body, headers=headers).raise_for_status()
    beside.during = BESIDE
    time.sleep(0.5)
    beside.during = "cancel"
    one.http.post(f"/requests/{request_id}/cancel").raise_for_status()
    beside.during = BESIDE
    time.sleep(0.5)


def launch(one: Site) -> None:
    """One app of one slot, and what keeps that busy."""
    one.get("/health")
    body = {"config_path": str(one.config), "streams_count": 1, "instance_id": "app"}
    one.http.post("/launch", json=body).raise_for_status()
    while one.get("/health")["connected_instances"] < 1:
        time.sleep(0.1)
    busy = {"camera_id": 1, "type": "fileset", "path": "/videos", "name": "busy", "request_id": "busy"}
    files = [{"file_id": 1, "file_path": "/videos/1.mp4", "output_path": "/results/1"}]
    one.http.post("/analysis/start", json={**busy, "files": files}).raise_for_status()


def request(files: int) -> bytes:
    """Its body; the id is to be put in."""
    given = [
        {"file_id": each, "file_path": f"/videos/{each}.mp4", "output_path": f"/results/{each}"}
        for each in range(files)
    ]
    body = {"camera_id": 2, "type": "fileset", "path": "/videos", "name": "bulk", "request_id": "REQUEST"}
    return json.dumps({**body, "files": given}).encode()


def main(files: Annotated[int, typer.Option()] = 10_000, rounds: Annotated[int, typer.Option()] = 5) -> None:
    """Measure and print, in ms."""
    with tempfile.TemporaryDirectory(prefix="siwat-bulk-") as folder, site(Path(folder), 3600.0) as one:
        launch(one)
        beside = Beside(one.port)
        for number in range(rounds):
            one_round(one, beside, number, request(files))
        beside.end()
        print(json.dumps({what: quantiles(took) for what, took in beside.took.items()}, indent=1))


if __name__ == "__main__":
    typer.run(main)
