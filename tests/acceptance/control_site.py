"""A control server as its operator starts it, for tests of its page: real apps, or many played ones."""

import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from demo.processes import Process, free_port
from tests.cameras import ROOT
from tests.exports import share_exports

STARTS_SEC = 60.0
NETWORK = ROOT / "demo" / "weights" / "car_frontal_detection.pt"
FAST = {"SIWAT_RUNTIME__BACKEND": "torch", "SIWAT_RUNTIME__DEVICE": "cpu", "SIWAT_RUNTIME__THREADS": "1"}
"""Without an export, which takes longer than these tests; for the same reason one network is enough."""


class ControlSite:
    """It runs for as long as the block does; it may be killed and started again on its data."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, token: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "gate.json"
        self.config.write_text(json.dumps({"archive": str(NETWORK), "tracking": "file"}))
        self.http = requests.Session()
        if token:
            self.http.headers["Authorization"] = f"Bearer {token}"
        self._env = {
            "SIWAT_DATA_DIR": str(share_exports(folder / "data")),
            "SIWAT_CONTROL__PORT": str(self.port),
            "SIWAT_CONTROL__CONFIG_FOLDERS": json.dumps([str(folder)]),
            "SIWAT_CONTROL__TEST_ROUTES": "false",
            **(settings or {}),
        }
        self.start()

    def __enter__(self) -> "ControlSite":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.child.send_signal(signal.SIGTERM)
        self.process.stop(30)

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/deepstream/ui"

    def start(self) -> None:
        command = [sys.executable, "-m", "siwatsystem", "control"]
        self.process = Process(command, self.folder / "control.log", self._env)
        deadline = time.monotonic() + STARTS_SEC
        while not self._answers():
            assert self.process.child.poll() is None, self.process.tail(30)
            assert time.monotonic() < deadline, self.process.tail(30)
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.child.kill()
        self.process.stop()

    def get(self, path: str) -> Any:
        answer = self.http.get(f"http://127.0.0.1:{self.port}/deepstream{path}", timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.http.post(f"http://127.0.0.1:{self.port}/deepstream{path}", json=body, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _answers(self) -> bool:
        try:
            return self.http.get(self.page, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False


def played(folder: Path, apps: int, slots: int) -> Path:
    """Sample data with so many instances, for the test routes to play."""
    found = [
        {
            "instance_id": f"played-{number:02}",
            "config_path": f"/configs/{number:02}.txt",
            "streams_count": slots,
            "gpu_allocated": [number % 2],
        }
        for number in range(apps)
    ]
    gpus = [{"gpu": number, "gpu_percent": 40.0 + number, "vram_mb": 2048.0} for number in range(2)]
    told = {"type": "metrics_response", "cpu_percent": 35.5, "ram_mb": 812.0, "gpu_percent": 41.0}
    metrics = {**told, "vram_mb": 4096.0, "timestamp": "2026-11-21T08:00:05Z", "gpus": gpus}
    path = folder / "sample_data.json"
    path.write_text(json.dumps({"deepstream_instances": found, "metrics_samples": [metrics]}))
    return path
