"""Throughput of one analysis app over the demo's clips, beside `siwat run` over the same files.

    python -m bench.analyze [--slots 2] [--rounds 3] [--every 5] [--json]

Both are real processes on the same settings; turns alternate. `run`: frames by the seconds that its summary
says the analysis took, models loaded. App: the same frames from the push of the files to the last
`analysis_complete`, models loaded, the clips spread over its slots.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Queue
from typing import Annotated, Any

import typer
from websockets.sync.server import ServerConnection, serve

ROOT = Path(__file__).parent.parent
GOAL = 0.9
WAIT_SEC = 600.0


class AppAtWork:
    """A real app, and the server's side of its conversation."""

    def __init__(self, folder: Path, slots: int, every: int, environment: dict[str, str]) -> None:
        self._said: Queue[dict[str, Any]] = Queue()
        self._sockets: Queue[ServerConnection] = Queue()
        self._server = serve(self._serve, "127.0.0.1", 0, compression=None)
        port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        config = folder / "app.json"
        config.write_text(
            json.dumps({"archive": str(ROOT / "demo" / "demo.mpta"), "every": every, "tracking": "file"})
        )
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "siwatsystem", "analyze", "--config", str(config)),
                *("--server", f"ws://127.0.0.1:{port}/", "--streams", str(slots)),
            ],
            cwd=ROOT,
            env=environment,
        )
        self._socket = self._sockets.get(timeout=WAIT_SEC)
        self._slots = slots
        self._runs = 0

    def analyse(self, clips: list[Path], out: Path) -> tuple[int, float]:
        """Frames, and the seconds that they took."""
        self._runs += 1
        shares = [clips[slot :: self._slots] for slot in range(self._slots)]
        began = time.perf_counter()
        busy = 0
        for slot, share in enumerate(shares):
            if share:
                busy += 1
                self._begin(slot, share, out)
        frames = 0
        while busy:
            message = self._said.get(timeout=WAIT_SEC)
            if message["type"] == "file_done":
                assert "error" not in message, message
                frames += message["frames"]
            busy -= message["type"] == "analysis_complete"
        return frames, time.perf_counter() - began

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._server.shutdown()

    def _begin(self, slot: int, clips: list[Path], out: Path) -> None:
        head = {"stream_id": slot, "camera_id": slot}
        camera = {"camera_type": "fileset", "path": "/", "name": "bench", "output_dir": str(out)}
        self._send({"type": "start_analysis", "request_id": f"r{self._runs}.{slot}", **head, **camera})
        files = [
            {"file_type": "file", "file_id": number, "file_path": str(clip)}
            for number, clip in enumerate(clips)
        ]
        push = {"request_id": f"p{self._runs}.{slot}", "files_count": len(files)}
        self._send({"type": "push_file", **head, **push, "files": [*files, {"file_type": "eos"}]})

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.send(json.dumps(message))

    def _serve(self, socket: ServerConnection) -> None:
        for text in socket:
            message = json.loads(text)
            if message["type"] == "app_ready":
                ack = {
                    "status": "ok",
                    "config_verified": True,
                    "streams_count_verified": True,
                    "timestamp": 0,
                }
                socket.send(json.dumps({"type": "execute_ack", "instance_id": message["instance_id"], **ack}))
                self._sockets.put(socket)
            else:
                self._said.put(message)


def run(clips: Path, out: Path, every: int, environment: dict[str, str]) -> tuple[int, float]:
    """The same for `siwat run`."""
    command = [sys.executable, "-m", "siwatsystem", "run", str(ROOT / "demo" / "demo.mpta"), "--json"]
    command += ["--source", str(clips), "--every", str(every), "--actions", "none"]
    command += ["--no-video", "--output", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout)
    return summary["frames"], summary["wallSeconds"]


def main(
    slots: int = 2,
    rounds: int = 3,
    every: int = 5,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Exit status 1 where the goal is missed."""
    source = ROOT / "demo" / "clips"
    clips = sorted(source.glob("*.mp4"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "SIWAT_DATA_DIR": str(folder / "data")}
        run(source, folder / "warm", 60, environment)
        app = AppAtWork(folder, slots, every, environment)
        try:
            app.analyse(clips[:1], folder / "warm-app")
            rates: dict[str, list[float]] = {"run": [], "app": []}
            for turn in range(rounds):
                frames, seconds = run(source, folder / f"run-{turn}", every, environment)
                rates["run"].append(frames / seconds)
                counted, seconds = app.analyse(clips, folder / f"app-{turn}")
                assert counted == frames
                rates["app"].append(counted / seconds)
        finally:
            app.close()
    ratios = [app / run for app, run in zip(rates["app"], rates["run"], strict=True)]
    found = {"goal": GOAL, "ratio": statistics.median(ratios), "ratios": ratios, "slots": slots, **rates}
    if as_json:
        print(json.dumps(found))
    else:
        figures = {name: f"{statistics.median(values):.1f}" for name, values in rates.items()}
        print(f"frames a second: app {figures['app']} in {slots} slots, run {figures['run']}")
        print(f"app / run: {found['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f}); goal ≥ {GOAL}")
    raise typer.Exit(found["ratio"] < GOAL)


if __name__ == "__main__":
    typer.run(main)
