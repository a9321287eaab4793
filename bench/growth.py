"""What a camera-frame costs with 1, 8 and 64 cameras, and whether each of 64 gets its share.

    python -m bench.growth [--json] [--repeats 3]

Small cameras (320×180 at 5 frames a second, H.264 over RTSP, started once) on a real worker, in *exact*
precision. Cost: processor seconds of the worker in a stretch of time, divided by the frames that it
analysed in it, at 2 frames a second and camera, with the cheapest model of the demo's archive alone, so
that what is not the model shows. What the worker uses when no camera is open is not taken off, but told.
Shares: frames analysed by subscription, the fewest against the mean, at that rate, and at a saturated
worker, which is asked to run the demo's detector over every frame of every camera.
"""

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import rig
from bench.clips import clip
from bench.record import Measure, Row, Spread, finish

SIZES = (1, 8, 64)
MOST = SIZES[-1]
RATE = "2"
"""As shipped."""
EVERY_FRAME = "10"
"""More than a camera sends: every frame is due."""
WINDOW_SEC = {1: 6.0, 8: 3.0, 64: 3.0}
IDLE_SEC = 3.0
SATURATED_SEC = 11.0
SETTLE_SEC = 1.5
ANALYSED = "siwat_frames_analysed_total"
DROPPED = "siwat_frames_dropped_total"
CAPTURED = "siwat_frames_captured_total"
SERVERS = 2
"""One server for all cameras would take too much of one core at times."""
NOWHERE = "rtsp://127.0.0.1:9/nothing"
"""A camera that refuses: its subscription only keeps the model loaded."""


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of time: processor seconds of the worker, and frames by subscription."""

    seconds: float
    cpu: float
    analysed: dict[str, int]
    dropped: int
    captured: int

    @property
    def per_frame(self) -> float:
        """Processor seconds a frame."""
        return self.cpu / max(1, sum(self.analysed.values()))

    @property
    def share(self) -> float:
        """The fewest frames of a subscription against their mean."""
        counts = list(self.analysed.values())
        return min(counts) / max(1e-9, statistics.fmean(counts))

    def as_dict(self) -> dict[str, float]:
        counts = self.analysed.values()
        return {
            "cpu_percent": round(100 * self.cpu / self.seconds, 1),
            "analysed_per_sec": round(sum(counts) / self.seconds, 1),
            "decoded_per_sec": round(self.captured / self.seconds, 1),
            "cpu_ms_a_frame": round(1000 * self.per_frame, 2),
            "fewest": min(counts, default=0),
            "most": max(counts, default=0),
            "dropped": self.dropped,
        }


def classifier_only(pipeline: dict[str, Any]) -> None:
    """For `rig.archive`: the archive's cheapest model alone, over the whole picture."""
    rig.without_actions(pipeline)
    pipeline["pipeline"] = {
        "modelId": "car_bodytype_classification",
        "modelFile": "car_bodytype_classification.pt",
        "minConfidence": 0.0,
        "triggerClasses": ["Hatchback", "Pickup", "SUV", "Sedan"],
    }


def identifier(number: int) -> str:
    return f"display-{number:02};camera"


def cpu_seconds(running: rig.Worker) -> float:
    """Processor time of the worker so far by Linux' own clock of it: one camera takes so little that the
    hundredths of a second of `/proc` are too coarse."""
    return time.clock_gettime((~running.pid << 3) | 2)


def look(running: rig.Worker, seconds: float) -> Window:
    """A stretch of what runs now."""
    before, cpu, began = running.metrics(), cpu_seconds(running), time.monotonic()
    time.sleep(seconds)
    # The processor time first: writing so many metrics takes some as well.
    cpu, took, after = cpu_seconds(running) - cpu, time.monotonic() - began, running.metrics()

    def grown(series: str) -> dict[str, int]:
        return {
            name: int(value - before.get(name, 0.0))
            for name, value in after.items()
            if name.startswith(f"{series}{{")
        }

    analysed = {re.findall(r'"(.*)"', name)[0]: count for name, count in grown(ANALYSED).items()}
    return Window(took, cpu, analysed, sum(grown(DROPPED).values()), sum(grown(CAPTURED).values()))


class Fleet:
    """Cameras and a worker's subscriptions to the first so many of them."""

    def __init__(self, running: rig.Worker, client: rig.Client, urls: Sequence[str], archive: Path) -> None:
        self._running = running
        self._client = client
        self._urls = urls
        self._archive = archive
        self._count = 0

    def load(self) -> None:
        """Have the model loaded, and keep it."""
        self._client.subscribe("holder;camera", NOWHERE, self._archive)
        self._client.wait(lambda: b"exact: " in self._running.get("/health"), "the model is loaded")

    def resize(self, count: int) -> None:
        """Subscribe or unsubscribe until the first `count` cameras are watched, and all deliver."""
        for number in range(self._count, count):
            self._client.subscribe(identifier(number), self._urls[number], self._archive)
        for number in range(count, self._count):
            payload = {"subscriptionIdentifier": identifier(number)}
            self._client.send({"type": "unsubscribe", "payload": payload})
        self._count = count
        self._client.wait(lambda: len(self._client.online()) == count, f"{count} cameras are online")
        time.sleep(SETTLE_SEC)


@contextmanager
def fleet(urls: Sequence[str], archive: Path, fps: str, folder: Path) -> Iterator[tuple[rig.Worker, Fleet]]:
    """A worker with its model loaded."""
    settings = {"SIWAT_TARGET_FPS": fps, "SIWAT_RUNTIME__PRECISION": "exact"}
    with rig.worker(folder, **settings) as running, rig.Client(running) as client:
        whole = Fleet(running, client, urls, archive)
        whole.load()
        yield running, whole


@contextmanager
def cameras() -> Iterator[list[str]]:
    """The addresses of all cameras."""
    film = clip(320, 180, 5, seconds=12)
    with ExitStack() as stack:
        servers: list[rig.Cameras] = []
        for server in range(SERVERS):
            names = [f"camera{number}" for number in range(server, MOST, SERVERS)]
            log = rig.DATA / f"cameras-{server}.log"
            servers.append(stack.enter_context(rig.cameras(dict.fromkeys(names, film), log)))
        yield [servers[number % SERVERS].url(f"camera{number}") for number in range(MOST)]


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Windows of each size")] = 3,
    folder: Annotated[Path, typer.Option(help="The worker's data folder")] = rig.DATA,
) -> None:
    """Measure, print and keep."""
    cheap, usual = rig.archive("classifier", classifier_only), rig.archive("detector", rig.detector_only)
    windows: dict[int, list[Window]] = {size: [] for size in SIZES}
    with cameras() as urls:
        with fleet(urls, cheap, RATE, folder) as (running, few):
            idle = look(running, IDLE_SEC)
            for _ in range(repeats):
                for size in SIZES:
                    few.resize(size)
                    windows[size].append(look(running, WINDOW_SEC[size]))
        with fleet(urls, usual, EVERY_FRAME, folder) as (running, many):
            many.resize(MOST)
            saturated = look(running, SATURATED_SEC)
    figures: dict[str, Any] = {str(size): [one.as_dict() for one in found] for size, found in windows.items()}
    figures["saturated"] = saturated.as_dict()
    figures["idle_cpu_percent"] = round(100 * idle.cpu / idle.seconds, 2)
    what = "processor time of a camera-frame, 64 small cameras"
    finish(Row("growth", 10, what, "8 cameras, and 1", judged(windows, saturated), figures), as_json=as_json)


def judged(windows: dict[int, list[Window]], saturated: Window) -> list[Measure]:
    many = windows[MOST]
    measures = [
        Measure(
            f"64 cameras against {size}",
            Spread.of(
                [one.per_frame / other.per_frame for one, other in zip(many, windows[size], strict=True)]
            ),
            1.1,
            "most",
        )
        for size in (8, 1)
    ]
    shares = Spread.of([one.share for one in many])
    measures.append(Measure("fewest frames against the mean", shares, 0.9, "least"))
    name = "the same, saturated"
    measures.append(Measure(name, Spread.of([saturated.share]), 0.9, "least"))
    return measures


if __name__ == "__main__":
    typer.run(main)
