"""Whether cars keep their identity, act once, and get the right brand, on rendered traffic with known truth.

    python -m bench.tracking [--json] [--clips 20] [--fps 10 --fps 2] [--method botsort|bytetrack]

Cars queue, stop and go, cross, and hide behind each other and behind pumps, in several lights. The demo's
models run in an archive that tracks; ultralytics' own `model.track` runs on the same frames beside it.
Clips are rendered once and kept under `.demo/`. Exit status 1 when a goal is missed.
"""

import json
import multiprocessing
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from bench.carwise import acts_of, hidden_of, moments_of
from bench.followed import Followed, Ours, Theirs
from bench.identity import identity, ids_of
from bench.tracking_report import Clip, Side, passed, report, tables
from bench.traffic import FPS, recording

OURS = "ours"
THEIRS = ("bytetrack", "botsort")

Job = tuple[int, tuple[int, ...], str, int, str]
"""Seed, rates, method, stability threshold, folder for the archive."""


def measure_clip(job: Job) -> list[Clip]:
    """Both sides on one clip, at each rate."""
    seed, rates, method, stability, folder = job
    clip, measured = recording(seed), list[Clip]()
    for fps in rates:
        chosen = range(0, len(clip.frames), FPS // fps)
        shown = [clip.frames[index] for index in chosen]

        def run(side: Any, chosen: range = chosen) -> tuple[Followed, float]:
            began = time.perf_counter()
            followed = side.follow((index / FPS, clip.image(index)) for index in chosen)
            return followed, time.perf_counter() - began

        ours, seconds = run(_ours(method, stability, folder))
        sides = {OURS: _side(ours, shown, seconds)}
        for name in THEIRS:
            theirs, seconds = run(Theirs(name))
            sides[name] = _side(theirs, shown, seconds)
        acts = acts_of(ours, shown, clip.brands)
        measured.append(Clip(clip.name, fps, len(clip.brands), hidden_of(clip.frames), sides, acts))
    return measured


def _side(followed: Followed, shown: list[Any], seconds: float) -> Side:
    moments = moments_of(shown, followed)
    ids = ids_of(moments)
    found = [len(set(tracks)) for tracks in ids.values() if tracks]
    return Side(identity(moments), len(found), sum(found), seconds)


@cache
def _ours(method: str, stability: int, folder: str) -> Ours:
    """One per process: its models stay loaded from clip to clip."""
    tracking = {"stabilityThreshold": stability, "once": True}
    return Ours(method, tracking, Path(folder) / str(os.getpid()))


def measure(
    clips: range, rates: tuple[int, ...], method: str, stability: int, processes: int, console: Console
) -> list[Clip]:
    """Every clip at every rate, several clips side by side."""
    from demo.seeds import TRAFFIC

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with tempfile.TemporaryDirectory() as folder:
        jobs: list[Job] = [
            (seed, rates, method, stability, folder) for seed in (TRAFFIC[index] for index in clips)
        ]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            done = pool.imap(measure_clip, jobs)
            return [
                clip
                for measured in track(done, "Clips", len(jobs), console=console, transient=True)
                for clip in measured
            ]


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    clips: Annotated[int, typer.Option(min=1, max=1000, help="Clips to measure on")] = 20,
    first: Annotated[
        int, typer.Option(min=0, help="The first of them; from 20 on nothing was chosen on them")
    ] = 0,
    fps: Annotated[list[int] | None, typer.Option(help="Analysed frames a second: 10, 5, 2 or 1")] = None,
    method: Annotated[str, typer.Option(help="bytetrack, or botsort with looks")] = "botsort",
    stability: Annotated[int, typer.Option(min=0, help="The archive's stabilityThreshold")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Clips at a time")] = 2,
) -> None:
    """Measure, print, and fail when a goal is missed."""
    rates = tuple(fps or (10, 2))
    if any(rate < 1 or FPS % rate for rate in rates):
        raise typer.BadParameter("10, 5, 2 or 1", param_hint="--fps")
    if method not in THEIRS:
        raise typer.BadParameter("bytetrack or botsort", param_hint="--method")
    began = time.perf_counter()
    measured = measure(range(first, first + clips), rates, method, stability, processes, Console(stderr=True))
    seconds = time.perf_counter() - began
    if as_json:
        print(json.dumps(report(measured, seconds)))
    else:
        for shown in tables(measured, seconds):
            Console().print(shown)
    raise typer.Exit(0 if passed(measured) else 1)


if __name__ == "__main__":
    typer.run(main)
