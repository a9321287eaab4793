"""Row 12: throughput of one analysis app over the demo's clips, beside `siwat run` over the same files; and
whether two apps that a control server launches give what `run` gives on each of 40 clips alone.

    python -m bench.analyze [--rounds 3] [--every 5] [--files 40] [--json]

Both sides of the throughput are real processes on the same settings; turns alternate. `run`: frames by the
seconds, and by the processor time, that its summary says the analysis took, models loaded. App: the same
frames from the push of the files to the last `analysis_complete`, models loaded, with one slot and with two.
Processor time is the steadier of the two where other things run on the machine.

`--files 0` leaves the second part out, and keeps no result.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Annotated, Any

import psutil
import typer
from websockets.sync.server import ServerConnection, serve

from bench import app_site
from bench.record import Measure, Row, Spread, finish

ROOT = Path(__file__).parent.parent
GOAL = 0.9
WAIT_SEC = 600.0
SLOTS = (1, 2)


@dataclass(frozen=True, slots=True)
class Turn:
    """So many frames, and what they took."""

    frames: int
    wall_sec: float
    cpu_sec: float


class AppAtWork:
    """A real app, and the server's side of its conversation."""

    def __init__(self, folder: Path, slots: int, every: int, environment: dict[str, str]) -> None:
        self._said: Queue[dict[str, Any]] = Queue()
        self._sockets: Queue[ServerConnection] = Queue()
        self._server = serve(self._serve, "127.0.0.1", 0, compression=None)
        port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        config = app_site.config_in(folder, f"app-{slots}", every=every, tracking="file")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "siwatsystem", "analyze", "--config", str(config)),
                *("--server", f"ws://127.0.0.1:{port}/", "--streams", str(slots)),
            ],
            cwd=ROOT,
            env=environment,
        )
        self._os = psutil.Process(self._process.pid)
        try:
            self._socket = self._sockets.get(timeout=WAIT_SEC)
        except BaseException:  # nobody has it yet who could close it
            self.close()
            raise
        self._slots = slots
        self._runs = 0

    def analyse(self, clips: list[Path], out: Path) -> Turn:
        self._runs += 1
        shares = [clips[slot :: self._slots] for slot in range(self._slots)]
        began, used = time.perf_counter(), self._cpu_sec()
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
        return Turn(frames, time.perf_counter() - began, self._cpu_sec() - used)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._server.shutdown()

    def _cpu_sec(self) -> float:
        """So far, all threads."""
        times = self._os.cpu_times()
        return times.user + times.system

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


def run(clips: Path, out: Path, every: int, environment: Mapping[str, str]) -> Turn:
    """The same for `siwat run`."""
    command = [sys.executable, "-m", "siwatsystem", "run", str(app_site.ARCHIVE), "--json"]
    command += ["--source", str(clips), "--every", str(every), "--actions", "none"]
    command += ["--no-video", "--output", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout)
    return Turn(summary["frames"], summary["wallSeconds"], summary["cpuSeconds"])


def measured(folder: Path, rounds: int, every: int, environment: dict[str, str]) -> dict[str, list[Turn]]:
    """Turns by side: `run`, and the app's numbers of slots; those of a round follow each other."""
    source = app_site.CLIPS
    clips = sorted(source.glob("*.mp4"))
    run(source, folder / "warm", 60, environment)
    apps: dict[int, AppAtWork] = {}
    turns: dict[str, list[Turn]] = {"run": [], **{_side(slots): [] for slots in SLOTS}}
    try:
        for slots in SLOTS:
            apps[slots] = AppAtWork(folder, slots, every, environment)
            apps[slots].analyse(clips[:1], folder / f"warm-app-{slots}")
        for turn in range(rounds):
            turns["run"].append(run(source, folder / f"run-{turn}", every, environment))
            for slots, app in apps.items():
                turns[_side(slots)].append(app.analyse(clips, folder / f"app-{slots}-{turn}"))
                assert turns[_side(slots)][-1].frames == turns["run"][-1].frames
    finally:
        for app in apps.values():
            app.close()
    return turns


def differing(folder: Path, files: int, environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of clips whose lines are not those of `run` on them alone, by how the apps track."""
    clips = app_site.short_clips(folder / "clips", files)
    alone = app_site.run_alone(clips, folder / "alone", 1, environment)
    assert any(line["events"] for lines in alone.values() for line in lines)
    found: dict[str, list[str]] = {}
    with app_site.site(folder, environment) as served:
        for tracking in ("file", "camera"):
            config = app_site.config_in(folder, tracking, tracking=tracking)
            instances = [served.launch(config, 2)["instance_id"] for _ in range(2)]
            lines = app_site.analysed(served, instances, clips, folder / "by" / tracking, tracking)
            found[tracking] = app_site.differing(lines, alone)
            for instance in instances:
                served.post(f"/instances/{instance}/terminate")
    return found


def judged(turns: dict[str, list[Turn]], different: dict[str, list[str]] | None) -> list[Measure]:
    """Ratios of the turns that followed each other; above 1 the app is better."""
    measures: list[Measure] = []
    for slots in SLOTS:
        pairs = list(zip(turns["run"], turns[_side(slots)], strict=True))
        name = "one slot" if slots == 1 else f"{slots} slots"
        cpu = Spread.of([run.cpu_sec / app.cpu_sec for run, app in pairs])
        wall = Spread.of([run.wall_sec / app.wall_sec for run, app in pairs])
        measures.append(Measure(f"{name}: frames by processor time", cpu, GOAL, "least"))
        measures.append(Measure(f"{name}: frames by time", wall, GOAL, "least"))
    for tracking, names in (different or {}).items():
        name = f"two apps launched by a control server, tracks by {tracking}: files with other lines"
        measures.append(Measure(name, Spread.of([len(names)]), 0, "most", " files"))
    return measures


def _side(slots: int) -> str:
    return f"app_{slots}"


def _figures(turns: dict[str, list[Turn]], different: dict[str, list[str]] | None) -> dict[str, Any]:
    figures: dict[str, Any] = {"differing": different}
    for side, found in turns.items():
        figures[side] = {
            "frames": found[0].frames,
            "frames_per_sec": round(statistics.median(one.frames / one.wall_sec for one in found), 2),
            "cpu_ms_per_frame": round(statistics.median(1e3 * one.cpu_sec / one.frames for one in found), 2),
        }
    return figures


def main(
    rounds: int = 3,
    every: int = 5,
    files: int = 40,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "SIWAT_DATA_DIR": str(folder / "data")}
        turns = measured(folder, rounds, every, environment)
        different = differing(folder, files, environment) if files else None
    measures = judged(turns, different)
    what = f"an analysis app over the demo's clips, and {files} clips over two apps"
    row = Row("analyze", 12, what, "`siwat run` over the same files", measures, _figures(turns, different))
    finish(row, as_json=as_json, keep=bool(files))


if __name__ == "__main__":
    typer.run(main)
