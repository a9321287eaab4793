"""Row 7: 200 clients asking for one camera's image, against a bare Starlette response.

    python -m bench.images [--json] [--repeats 5] [--seconds 3] [--clients 200]

The worker watches one 1080p25 camera. The other side is Starlette with one route that answers with bytes
of such an image, served by the worker's own server settings, in a process of its own; the worker goes on
watching and analysing meanwhile, so that both sides have the same machine. Clients keep their connections.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from bench import rig
from bench.clips import ROOT, clip
from bench.record import Measure, Row, Spread, finish
from demo.processes import Process, free_port

CAMERA = "gate;east"
GOAL = 0.8
MOST_ENCODES_A_FRAME = 1.02
MOST_CLIENTS_BUSY = 0.95
"""One may be encoded for a request that the clients, having ended, no longer count."""

Side = dict[str, Any]
"""What `bench.image_clients` said."""


@contextmanager
def bare(body: bytes, folder: Path) -> Iterator[tuple[str, int]]:
    """A bare Starlette serving `body`: its URL and process id."""
    file, port = folder / "image.jpg", free_port()
    file.write_bytes(body)
    command = [sys.executable, "-m", "bench.bare_image", str(port), str(file)]
    process = Process(command, folder / "bare.log")
    url = f"http://127.0.0.1:{port}/image"
    try:
        deadline = time.monotonic() + 30
        while not _answers(url):
            if time.monotonic() > deadline or process.child.poll() is not None:
                raise RuntimeError(f"the bare server does not answer:\n{process.tail()}")
            time.sleep(0.05)
        yield url, process.child.pid
    finally:
        process.stop()


def ask(url: str, pid: int, clients: int, seconds: float) -> Side:
    """Let a process of clients ask `url` of the server `pid`."""
    command = [sys.executable, "-m", "bench.image_clients", url, str(pid)]
    command += ["--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=seconds + 60)
    side: Side = json.loads(done.stdout)
    if side["errors"]:
        raise RuntimeError(f"{url}: {side['errors']} answers were errors")
    return side


def measure(repeats: int, seconds: float, clients: int, folder: Path = rig.DATA) -> Row:
    """Both sides by turns, `repeats` times."""
    ours: list[Side] = []
    theirs: list[Side] = []
    encodes: list[float] = []
    archive = rig.archive("images", rig.detector_only)
    with (
        rig.cameras({"gate": clip()}) as cameras,
        rig.worker(folder) as worker,
        rig.Client(worker) as backend,
        tempfile.TemporaryDirectory() as temporary,
    ):
        backend.subscribe(CAMERA, cameras.url("gate"), archive)
        backend.wait(lambda: backend.detections[CAMERA] > 2, "detections")
        path = f"/camera/{quote(CAMERA, safe='')}/image"
        with bare(_typical(worker, path), Path(temporary)) as (url, pid):
            for _ in range(repeats):
                theirs.append(ask(url, pid, clients, seconds))
                before = worker.metric("siwat_jpeg_encoded_total")
                ours.append(ask(worker.url(path), worker.pid, clients, seconds))
                encoded = worker.metric("siwat_jpeg_encoded_total") - before
                encodes.append(encoded / ours[-1]["frames"])
    return _row(ours, theirs, encodes, clients)


def _typical(worker: rig.Worker, path: str) -> bytes:
    """Of some of the camera's images the one of the middle size."""
    found = list[bytes]()
    for _ in range(15):
        found.append(worker.get(path))
        time.sleep(0.2)
    return sorted(found, key=len)[len(found) // 2]


def _row(ours: Sequence[Side], theirs: Sequence[Side], encodes: Sequence[float], clients: int) -> Row:
    busiest = max(side["clients_busy"] for side in (*ours, *theirs))
    if busiest > MOST_CLIENTS_BUSY:
        raise RuntimeError(f"the clients were busy {busiest:.0%} of the time: they are what was measured")
    rates = [a["per_sec"] / b["per_sec"] for a, b in zip(ours, theirs, strict=True)]
    return Row(
        name="images",
        number=7,
        what=f"{clients} clients asking for one camera's image (requests/s)",
        against="a bare Starlette response with the same bytes, same server settings",
        measures=[
            Measure("requests/s", Spread.of(rates), GOAL, "least"),
            Measure("encodes a frame", Spread.of(encodes), MOST_ENCODES_A_FRAME, "most"),
        ],
        figures={"ours": _figures(ours), "bare": _figures(theirs)},
    )


def _figures(sides: Sequence[Side]) -> dict[str, float]:
    names = ("per_sec", "loop_ms", "loop_busy", "clients_busy", "body_bytes", "frames")
    return {name: round(statistics.median(side[name] for side in sides), 4) for name in names}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Times, both sides by turns")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each")] = 3.0,
    clients: Annotated[int, typer.Option(min=1, help="Connections that ask")] = 200,
) -> None:
    """Measure, keep and print."""
    finish(measure(repeats, seconds, clients), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
