"""The real worker as a child process."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from demo.processes import Process, free_port
from tests.acceptance.backend import Backend, backend
from tests.acceptance.client import Client
from tests.exports import share_exports

ROOT = Path(__file__).parent.parent.parent


class WorkerProcess:
    """A running worker: its addresses, and requests to it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIWAT_")}
        settings = {
            "SIWAT_HOST": "127.0.0.1",
            "SIWAT_PORT": str(self.port),
            "SIWAT_DATA_DIR": str(folder),
            "SIWAT_CONFIG": str(ROOT / "config.json"),
        }
        command = [sys.executable, str(ROOT / "app.py")]
        self.process = Process(command, folder / "worker.log", {**clean, **settings, **env})

    def wait_ready(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.child.poll() is not None:
                raise AssertionError(f"the worker has ended:\n{self.process.tail(40)}")
            try:
                self.get("/health")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"the worker does not answer:\n{self.process.tail(40)}")

    def backend(self, token: str | None = None) -> AbstractContextManager[Backend]:
        """Of a customer who does as the documents say."""
        return backend(f"ws://127.0.0.1:{self.port}/", token)

    def client(self, **headers: str) -> Client:
        """A bare connection, for what no backend should say."""
        return Client(f"ws://127.0.0.1:{self.port}/", headers)

    def get(self, path: str) -> tuple[int, bytes, str]:
        """Status, body and content type; HTTP errors are answers too."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read(), answer.headers["content-type"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers["content-type"]

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[1])

    def metric(self, name: str) -> float:
        """The sum of a series over its labels; 0 where there is none."""
        lines = self.get("/metrics")[1].decode().splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@contextmanager
def worker(folder: Path, **env: str) -> Iterator[WorkerProcess]:
    """A worker with its data in `folder`; ended with the block."""
    share_exports(folder)
    running = WorkerProcess(folder, env)
    try:
        running.wait_ready()
        yield running
    finally:
        running.process.stop()
