"""Row 9: how long the worker takes until it listens, and until a cached archive sees.

    python -m bench.start [--json] [--repeats 7]

Listening: from exec to the first answer of `/health`. Seeing: a worker that has exported the archive's
models at an earlier time is started, a client subscribes as soon as it listens, and what counts is the
time from the camera's first keyframe to the first detection that the client is sent. The camera is asked
for in `/metrics` again and again: the keyframe counts from the last look that saw none.
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import rig
from bench.clips import clip
from bench.record import Measure, Row, Spread, finish

CAMERA = "gate;east"
LOOK_SEC = 0.04


@dataclass(frozen=True)
class Start:
    """Seconds of a start: from exec until it answers, from being told to end until it has."""

    listens: float
    ends: float


@dataclass(frozen=True)
class Sight:
    """Seconds from exec to a camera's first keyframe and to the first detection on it."""

    keyframe: float
    detection: float
    torch: bool
    """Whether torch was loaded by then."""

    @property
    def sees(self) -> float:
        return self.detection - self.keyframe


def listen(folder: Path) -> Start:
    """Start a worker, and end it as soon as it answers."""
    with _worker(folder) as worker:
        listens = worker.wait_ready()
        began = time.monotonic()
        if worker.stop() != 0:
            raise RuntimeError(f"the worker did not end well: {worker.log}")
        return Start(listens, time.monotonic() - began)


def see(folder: Path, url: str, archive: Path) -> Sight:
    """Start a worker, subscribe, and wait for the first detection."""
    with _worker(folder) as worker:
        worker.wait_ready()
        first = threading.Event()
        came: list[float] = []

        def note(message: rig.Message, now: float) -> None:
            if message["type"] == "imageDetection" and not came:
                came.append(now)
                first.set()

        with rig.Client(worker, note) as client:
            client.subscribe(CAMERA, url, archive)
            unseen = time.monotonic()
            while not first.is_set():
                looked = time.monotonic()
                if worker.metric("siwat_frames_captured_total"):
                    break
                unseen = looked
                first.wait(LOOK_SEC)
            client.wait(first.is_set, "a detection")
        torch = "libtorch" in Path(f"/proc/{worker.pid}/maps").read_text()
        return Sight(unseen - worker.started, came[0] - worker.started, torch)


@contextlib.contextmanager
def _worker(folder: Path) -> Iterator[rig.Worker]:
    """A worker that has only just been started."""
    folder.mkdir(parents=True, exist_ok=True)
    worker = rig.Worker(folder, {})
    try:
        yield worker
    finally:
        worker.stop()


def measure(repeats: int, folder: Path = rig.DATA) -> Row:
    """Both, `repeats` times; a first start of each, which fills caches, is not counted."""
    archive = rig.archive("start", rig.without_actions)
    with tempfile.TemporaryDirectory() as temporary:
        starts = [listen(Path(temporary)) for _ in range(repeats + 1)][1:]
    with rig.cameras({"gate": clip()}) as cameras:
        seen = [see(folder, cameras.url("gate"), archive) for _ in range(repeats + 1)][1:]
    if any(one.torch for one in seen):
        raise RuntimeError("torch was loaded though the models were exported before")
    sees = Spread.of([one.sees for one in seen])
    return Row(
        name="start",
        number=9,
        what="start",
        against="–",
        measures=[
            Measure("listening after exec", Spread.of([one.listens for one in starts]), 1.0, "most", " s"),
            Measure("a cached archive sees after the first keyframe", sees, 2.5, "most", " s"),
        ],
        figures={
            "ends_sec": asdict(Spread.of([one.ends for one in starts])),
            "keyframe_after_exec_sec": asdict(Spread.of([one.keyframe for one in seen])),
            "detection_after_exec_sec": asdict(Spread.of([one.detection for one in seen])),
        },
    )


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Starts of each kind")] = 7,
) -> None:
    """Measure, keep and print."""
    finish(measure(repeats), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
