"""Row 8: what a further subscription, camera and pipeline take of memory.

    python -m bench.memory [--json]

A worker of its own for each: it is brought to one of the kind, and then to more, step by step. Its own
memory (USS) is read while it watches and analyses, once every step has settled, as the median of some
seconds; each step gives one figure for one more of the kind. Subscriptions and cameras are of 1080p;
pipelines, whose weights are in question, look at a small camera: each may have a frame under way.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import rig
from bench.clips import clip
from bench.record import Measure, Row, Spread, finish

SUBSCRIPTIONS = (1, 11, 21, 31, 41)
CAMERAS = (1, 3, 5, 7)
PIPELINES = (1, 3, 5, 7)
SETTINGS = {"SIWAT_RUNTIME__PRECISION": "exact", "SIWAT_TARGET_FPS": "1"}
"""One precision: what is compared before another is used takes pictures, until it is done."""
SETTLE_SEC = 2.5
WATCH_SEC = 3.0
SAMPLES_PER_SEC = 10
ANALYSED = 3
"""Detections of every subscription before a step counts as reached."""


@dataclass(frozen=True)
class Grown:
    """Memory at some counts of a kind, megabytes."""

    counts: Sequence[int]
    megabytes: Sequence[float]

    @property
    def each(self) -> list[float]:
        """What one more took, by step."""
        pairs = list(zip(self.counts, self.megabytes, strict=True))
        return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(pairs)]

    @property
    def mean(self) -> float:
        """What one more took, over all steps."""
        return (self.megabytes[-1] - self.megabytes[0]) / (self.counts[-1] - self.counts[0])


Add = Callable[[rig.Client, int], str]
"""Subscribes number n; its identifier."""


def grow(folder: Path, counts: Sequence[int], add: Add) -> Grown:
    """Memory of a fresh worker at each of `counts`."""
    megabytes: list[float] = []
    with rig.worker(folder, **SETTINGS) as worker, rig.Client(worker) as client:
        names: list[str] = []
        for count in counts:
            names += [add(client, number) for number in range(len(names), count)]
            _wait_analysed(client, names)
            time.sleep(SETTLE_SEC)
            megabytes.append(_memory(worker))
    return Grown(counts, megabytes)


def _wait_analysed(client: rig.Client, names: Sequence[str]) -> None:
    """Until each has been told of some more detections."""
    wanted = {name: client.detections[name] + ANALYSED for name in names}
    client.wait(
        lambda: all(client.detections[name] >= count for name, count in wanted.items()),
        f"{len(names)} to be analysed",
    )


def _memory(worker: rig.Worker) -> float:
    samples: list[float] = []
    for _ in range(round(WATCH_SEC * SAMPLES_PER_SEC)):
        samples.append(worker.memory_mb())
        time.sleep(1 / SAMPLES_PER_SEC)
    return statistics.median(samples)


def measure(folder: Path = rig.DATA) -> Row:
    """All three kinds, one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = rig.archive("memory", rig.detector_only)
    whole = rig.archive("memory-whole", rig.without_actions)
    films = {f"cam{number}": clip() for number in range(max(CAMERAS))} | {"small": clip(640, 360)}
    with rig.cameras(films, folder / "cameras.log") as server:
        url = server.url

        def subscription(client: rig.Client, number: int) -> str:
            client.subscribe(name := f"display{number};cam", url("cam0"), detector)
            return name

        def camera(client: rig.Client, number: int) -> str:
            client.subscribe(name := f"display;cam{number}", url(f"cam{number}"), detector)
            return name

        def pipeline(client: rig.Client, number: int) -> str:
            copy = whole.with_stem(f"memory-whole-{number}")
            shutil.copyfile(whole, copy)
            client.subscribe(name := f"display{number};cam", url("small"), copy, model_id=200 + number)
            return name

        subscriptions = grow(folder, SUBSCRIPTIONS, subscription)
        cameras = grow(folder, CAMERAS, camera)
        pipelines = grow(folder, PIPELINES, pipeline)
    return Row(
        name="memory",
        number=8,
        what="memory that one more takes (USS)",
        against="–",
        measures=[
            _measured("a further subscription on a camera", subscriptions, 1),
            _measured("a further 1080p camera", cameras, 45),
            _measured("a further pipeline with the same weights", pipelines, 1),
        ],
        figures={
            "subscriptions": _figures(subscriptions),
            "cameras": _figures(cameras),
            "pipelines": _figures(pipelines),
        },
    )


def _measured(name: str, grown: Grown, goal: float) -> Measure:
    each = Spread.of(grown.each)
    # The steps say how sure it is; all of them together say what it is.
    return Measure(name, Spread(each.min, round(grown.mean, 4), each.max), goal, "most", " MB")


def _figures(grown: Grown) -> dict[str, Any]:
    return {"counts": list(grown.counts), "megabytes": [round(value, 1) for value in grown.megabytes]}


def main(as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False) -> None:
    """Measure, keep and print."""
    finish(measure(), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
