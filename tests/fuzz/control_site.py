"""A whole control server on a loopback port, with a simulated app at work, for strangers to talk to."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import uvicorn

from siwatsystem.config import Settings
from siwatsystem.deepstream.application import create_app
from siwatsystem.server import configuration
from tests.fuzz.site import TOKEN, Site
from tests.servers import until

KNOWN = {"instance_id": "alpha", "process_id": "proc_alpha", "request_id": "r"}
SAMPLES: dict[str, Any] = {
    "deepstream_instances": [
        {"instance_id": "alpha", "config_path": "/configs/a.txt", "streams_count": 2},
        {"instance_id": "beta", "config_path": "/configs/b.txt", "streams_count": 1},
    ],
    "metrics_samples": [{"type": "metrics_response", "cpu_percent": 1, "ram_mb": 1}],
}


@contextmanager
def control_site(folder: Path) -> Generator[Site]:
    """With a control token, and test routes; nothing can be launched, as no config is there."""
    samples = folder / "samples.json"
    video = str(folder / "videos" / "1.mp4")
    given = {"camera_id": 1, "type": "file", "path": video, "files": [{"file_id": 1, "file_path": video}]}
    samples.write_text(json.dumps({**SAMPLES, "analysis_requests": [given]}))
    (folder / "configs").mkdir()
    control = {
        "test_routes": True,
        "sample_data": samples,
        "config_folders": [folder / "configs"],
        "media_folders": [folder / "videos"],
        "log_file": None,
    }
    settings = Settings.model_validate({"data_dir": folder, "control_token": TOKEN, "control": control})
    app = create_app(settings)
    server = uvicorn.Server(configuration(app, settings, ("127.0.0.1", 0)))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        made = Site(app, server.servers[0].sockets[0].getsockname()[1], lambda _: KNOWN)
        for path in ("test/simulate-handshake/alpha", "test/mock-analysis"):
            answer = requests.post(f"{made.url}/deepstream/{path}", headers=made.token, timeout=10)
            assert answer.status_code == 200, answer.text
        yield made
    finally:
        server.should_exit = True
        thread.join(60)
