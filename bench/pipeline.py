"""Frames per second of the whole demo pipeline, beside the worker that a good engineer writes in a day.

    python -m bench.pipeline [--json] [--frames 40] [--times 2] [--repeats 5]

Both sides see the same decoded 1280×720 frames, each frame for itself (nothing is followed from one to
the next, so that neither is spared a model), and write the same things into the same embedded Redis
and PostgreSQL. Ours ends when the last record has arrived there.
"""

import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from bench.naive import Naive, make_table
from bench.ours import Ours
from bench.pictures import demo_frames
from bench.record import Measure, Row, Spread, finish
from siwatsystem.embedded.servers import EmbeddedServers
from siwatsystem.runtime.backend import Precision

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "demo" / "demo.mpta"
FOLDER = ROOT / ".demo" / "bench-pipeline"
GOALS: dict[Precision, float] = {"exact": 1.7, "fast": 3.0}


def measure(count: int, times: int, repeats: int) -> Row:
    """Both sides in turn; the naive one with one thread that takes frames and with two."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    servers = EmbeddedServers(FOLDER)
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
            return _measure(Path(temporary), servers, count, times, repeats)
    finally:
        servers.close()


def _measure(folder: Path, servers: EmbeddedServers, count: int, times: int, repeats: int) -> Row:
    reached = _for_redis(servers.redis()), servers.postgresql()
    make_table(reached[1])
    unpacked = folder / "naive"
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(unpacked)  # our own archive
    cores = os.cpu_count() or 1
    sides: dict[str, Callable[[], tuple[float, int]]] = {}
    with ExitStack() as held:
        # The same threads altogether: one call on all cores, or two on half of them each.
        for feeders, threads in ((1, cores), (2, max(1, cores // 2))):
            naive = Naive(unpacked, reached, feeders, threads, count)
            held.callback(naive.close)
            sides[f"naive, {feeders} frames at a time"] = partial(naive.rate, times)
        ours = Ours(ARCHIVE, folder / "ours", servers)
        held.callback(ours.close)
        frames = demo_frames(count)
        for precision in ours.precisions:
            sides[precision] = partial(ours.rate, frames * times, precision)
            ours.rate(frames, precision)
        rates: dict[str, list[float]] = {name: [] for name in sides}
        events: dict[str, int] = {}
        for _ in range(repeats):
            for name, side in sides.items():
                rate, events[name] = side()
                rates[name].append(rate)
    best = max((name for name in sides if name.startswith("naive")), key=lambda name: median(rates[name]))
    if max(events.values()) > 1.05 * min(events.values()):
        raise RuntimeError(f"the sides did not do the same work: events {events}")
    measures = [
        Measure(precision, _ratio(rates[precision], rates[best]), GOALS[precision], "least")
        for precision in ours.precisions
    ]
    figures: dict[str, Any] = {
        "frames_per_sec": {name: asdict(Spread.of(found)) for name, found in rates.items()}
    }
    figures |= {
        "events_per_frame": {name: round(number / (count * times), 3) for name, number in events.items()},
        "against": best,
        "frames": f"{count} different ones of 1280×720, each {times} times a repetition",
    }
    what = "whole pipeline with its actions, demo archive, decoded frames"
    return Row("pipeline", 1, what, "predict of ultralytics on torch, actions inline", measures, figures)


def _for_redis(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("host", "port", "password", "db") if key in config}


def _ratio(ours: list[float], theirs: list[float]) -> Spread:
    return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    frames: Annotated[int, typer.Option(help="Different frames")] = 40,
    times: Annotated[int, typer.Option(help="How often they are seen in a repetition")] = 2,
    repeats: Annotated[int, typer.Option(help="Repetitions")] = 5,
) -> None:
    """Measure and print."""
    finish(measure(frames, times, repeats), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
