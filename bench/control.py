"""The control server under load: 20 apps of 8 slots, 10,000 files queued, deaths of apps and of the server.

    python -m bench.control [--files 10000] [--kills 10] [--server-kills 2] [--seeds 1,2,3]

Every part is a process of its own: the server; an idle server beside it, which answers `/health` and shows
what the machine itself costs at that moment; the apps (`tests/deepstream/scripted_app.py`), which the server
launches; and the client, which asks one status route after the other. Apps and the server are killed with
SIGKILL, from the first request on. Where they may, the servers and the client are scheduled before all else
(`chrt -r`): other work on the machine is not theirs.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from bench.control_client import IDLE, PATHS
from bench.record import Measure, Row, Spread, finish
from demo.processes import Process, free_port

APPS, SLOTS = 20, 8
PER_REQUEST = 20
FILE_SEC = 1.0
LONGEST_SEC = 300
APP = Path(__file__).parent.parent / "tests" / "deepstream" / "scripted_app.py"
MODULE = "bench.control_server"
ALLOWED_MS = 50.0


def urgent() -> list[str]:
    """The words before a command that have it scheduled first, but not what it starts; none where that is not
    allowed."""
    words = ["chrt", "--reset-on-fork", "--rr", "1"]
    with contextlib.suppress(OSError):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return []


class Site:
    """The server, an idle one, and what is asked of them."""

    def __init__(self, folder: Path, file_sec: float) -> None:
        self.folder = folder
        self.config = folder / "configs" / "app.txt"
        self.config.parent.mkdir()
        self.config.touch()
        self.first = urgent()
        options = ["--server", "{server}", "--config", "{config}", "--streams", "{streams}"]
        program = [sys.executable, str(APP), *options, "--sec", str(file_sec)]
        self.port, self.idle_port = free_port(), free_port()
        self.settings = {
            "SIWAT_CONTROL__CONFIG_FOLDERS": json.dumps([str(self.config.parent)]),
            "SIWAT_CONTROL__PROGRAMS": json.dumps({"*.txt": program}),
            "SIWAT_CONTROL__RESTARTS": "100",
            "SIWAT_CONTROL__TEST_ROUTES": "false",
        }
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/deepstream", timeout=30)
        self.server = self._server(self.port, "busy")
        self.idle = self._server(self.idle_port, "idle")
        self.asked = folder / "answers"
        self.client: subprocess.Popen[bytes] | None = None
        self.killed: list[float] = []

    def _server(self, port: int, name: str) -> Process:
        env = {
            **self.settings,
            "SIWAT_DATA_DIR": str(self.folder / name),
            "SIWAT_CONTROL__PORT": str(port),
        }
        command = [*self.first, sys.executable, "-m", MODULE]
        return Process(command, self.folder / f"{name}.log", env)

    def get(self, path: str, **query: int) -> Any:
        """The answer's body, once the server is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.http.get(path, params=query).raise_for_status().json()
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def launch(self) -> None:
        self.get("/health")
        for number in range(APPS):
            body = {"config_path": str(self.config), "streams_count": SLOTS, "instance_id": f"app{number}"}
            self.http.post("/launch", json=body).raise_for_status()
        while self.get("/health")["connected_instances"] < APPS:
            time.sleep(0.1)

    def queue(self, files: int) -> None:
        """Requests of `PER_REQUEST` files each; one whose answer was lost is sent again."""
        url = f"http://127.0.0.1:{self.port}/deepstream"
        with httpx.Client(base_url=url, timeout=30) as http:
            for name in requests(files):
                first = int(name[1:])
                given = [
                    {"file_id": each, "file_path": f"/videos/{each}.mp4", "output_path": f"/results/{each}"}
                    for each in range(first, min(first + PER_REQUEST, files))
                ]
                body = {"camera_id": first, "type": "fileset", "path": "/videos", "name": name}
                self._post(http, {**body, "files": given, "request_id": name})

    def _post(self, http: httpx.Client, body: dict[str, Any]) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = http.post("/analysis/start", json=body)
                if answer.status_code == 200:
                    return
                assert answer.status_code == 503, answer.text  # no app is connected yet
            assert time.monotonic() < deadline, "a request was not taken in time"
            time.sleep(0.05)

    def ask(self) -> None:
        """Begin to measure."""
        command = [*self.first, sys.executable, "-m", "bench.control_client"]
        ports = [str(self.port), str(self.idle_port), str(self.asked)]
        self.client = subprocess.Popen([*command, *ports], stdin=subprocess.PIPE)

    def answers(self) -> list[dict[str, Any]]:
        """End to measure: all that was noted."""
        assert self.client is not None
        self.client.communicate(timeout=40)
        return [json.loads(line) for line in self.asked.read_text().splitlines()]

    def kill_app(self, chosen: random.Random) -> bool:
        """One that runs; whether there was one."""
        running = [each for each in self.get("/processes")["processes"] if each["status"] == "running"]
        pids = [each["host_pid"] for each in running if each["host_pid"]]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chosen.choice(pids), signal.SIGKILL)
                return True
        return False

    def kill_server(self) -> None:
        os.kill(self.server.child.pid, signal.SIGKILL)
        self.server.stop()
        self.killed.append(time.monotonic())
        self.server = self._server(self.port, "busy")

    def end(self) -> None:
        if self.client is not None and self.client.poll() is None:
            self.client.kill()
            self.client.wait()
        self.http.close()
        for server in (self.server, self.idle):
            server.stop(40)


@contextlib.contextmanager
def site(folder: Path, file_sec: float) -> Generator[Site]:
    made = Site(folder, file_sec)
    try:
        yield made
    finally:
        made.end()


def requests(files: int) -> list[str]:
    """Their ids."""
    return [f"r{first}" for first in range(0, files, PER_REQUEST)]


def counts(one: Site, names: list[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name in names:
        total.update(one.get(f"/requests/{name}", limit=1)["files"])
    return total


def disturbed(one: Site, queued: Future[None], files: int, deaths: list[str], chosen: random.Random) -> int:
    """Kill what `deaths` names, in turn, until all files have ended. How many apps were killed."""
    apps, began, due = 0, time.monotonic(), time.monotonic() + 2
    while time.monotonic() - began < LONGEST_SEC:
        time.sleep(0.2)
        if deaths and time.monotonic() >= due:
            if deaths[-1] == "server":
                one.kill_server()
                deaths.pop()
            elif one.kill_app(chosen):
                apps += 1
                deaths.pop()
            due = time.monotonic() + chosen.uniform(0.5, 3)
        elif not deaths and queued.done():
            queued.result()
            total = counts(one, requests(files))
            if total["done"] + total["failed"] + total["cancelled"] >= files:
                break
    return apps


def measure(
    folder: Path, files: int, kills: int, server_kills: int, seed: int, file_sec: float
) -> dict[str, Any]:
    """One repetition."""
    chosen = random.Random(seed)
    deaths = ["app"] * kills + ["server"] * server_kills
    chosen.shuffle(deaths)
    with site(folder, file_sec) as one, ThreadPoolExecutor(1) as pool:
        one.launch()
        one.ask()
        began = time.monotonic()
        killed = disturbed(one, pool.submit(one.queue, files), files, deaths, chosen)
        seconds = time.monotonic() - began
        total = counts(one, requests(files))
        found = one.answers()
        analysed = one.config.with_name("app.txt.done").read_text().splitlines()
        memory = _memory_mb(one.server.child.pid)
        state = sum(path.stat().st_size for path in (folder / "busy").glob("control.sqlite*"))
    twice = sum(times > 1 for times in Counter(analysed).values())
    return {
        "seed": seed,
        "files": files,
        "done": total["done"],
        "failed": total["failed"],
        "lost": files - total["done"] - total["failed"],
        "never_analysed": files - len(set(analysed)),
        "analysed_again": twice,
        "apps_killed": killed,
        "server_killed": len(one.killed),
        "seconds": round(seconds, 1),
        "server_mb": memory,
        "state_mb": round(state / 1e6, 1),
        **judged(found, one.killed),
    }


def judged(found: list[dict[str, Any]], killed: list[float]) -> dict[str, Any]:
    """What the answers took. Those of the server's absence are apart."""
    told = [each for each in found if "away" not in each]
    busy = [each for each in told if each["path"] != IDLE]
    first = [each["at"] for each in busy]
    away = [round(min(at for at in first if at > kill) - kill, 2) for kill in killed]
    idle = quantiles([each["took"] * 1000 for each in told if each["path"] == IDLE])
    whole = quantiles([each["took"] * 1000 for each in busy])
    return {
        **whole,
        "handled": quantiles([each["handled"] for each in busy]),
        "idle": idle,
        "p99_over_idle_ms": round(whole["p99"] - idle["p99"], 2),
        "p99_times_idle": round(whole["p99"] / idle["p99"], 2),
        "away_sec": away,
        "paths": {
            path: quantiles([each["took"] * 1000 for each in busy if each["path"] == path]) for path in PATHS
        },
        "largest_kb": round(max(each["bytes"] for each in busy) / 1000),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """In the unit of the values."""
    ordered = sorted(values)
    at = {"p50": 0.5, "p99": 0.99}
    named = {name: round(ordered[int(len(ordered) * part)], 2) for name, part in at.items()}
    return {**named, "worst": round(ordered[-1], 2), "answers": len(ordered)}


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000, 1)


def row(found: list[dict[str, Any]]) -> Row:
    """The figures of all repetitions."""
    p99 = Spread.of([each["p99"] for each in found])
    slowest = Spread.of([max(path["p99"] for path in each["paths"].values()) for each in found])
    # One that is counted twice must not make up for another that is lost.
    lost = Spread.of([abs(each["lost"]) + each["failed"] + each["never_analysed"] for each in found])
    measures = (
        Measure("p99 of status answers", p99, ALLOWED_MS, "most", " ms"),
        Measure("p99 of the slowest route", slowest, ALLOWED_MS, "most", " ms"),
        Measure("files lost or failed", lost, 0, "most", " files"),
    )
    what = f"control server, {APPS} apps × {SLOTS} slots, {found[0]['files']} files queued"
    against = f"{found[0]['apps_killed']} kills of apps and {found[0]['server_killed']} of the server"
    return Row("control", 13, what, against, measures, {"runs": found})


def main(
    files: Annotated[int, typer.Option()] = 10_000,
    kills: Annotated[int, typer.Option()] = 10,
    server_kills: Annotated[int, typer.Option()] = 2,
    seeds: Annotated[str, typer.Option(help="A repetition each")] = "1,2,3",
    file_sec: Annotated[float, typer.Option(help="That an app takes for a file")] = FILE_SEC,
    keep: Annotated[bool, typer.Option(help="Write the result to bench/results")] = True,
) -> None:
    """Measure and print; status 1 where a file was lost."""
    found: list[dict[str, Any]] = []
    for seed in seeds.split(","):
        with tempfile.TemporaryDirectory(prefix="siwat-control-") as folder:
            found.append(measure(Path(folder), files, kills, server_kills, int(seed), file_sec))
        print(json.dumps(found[-1]), flush=True)
    finish(row(found), keep=keep)
    raise SystemExit(any(each["lost"] or each["failed"] or each["never_analysed"] for each in found))


if __name__ == "__main__":
    typer.run(main)
