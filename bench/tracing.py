"""What traces cost: the demo's archive in an analysis loop, frames traced against the same frames untraced.

    python -m bench.tracing [--repeats 7] [--frames 40]

The product's own loop, pipeline and exporter, whose collector is a process of its own. Cost: processor time
of this process for each frame, all threads, the exporter's too. The sides take turns, so that what else
happens on the machine strikes all of them; the ratio is that of the medians. `empty` is the same with a model
that answers at once: what is left is the loop's own work, and the difference there is what one trace costs.
"""

import asyncio
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.ours import Ours
from bench.pictures import demo_frames
from siwatsystem.config import TracingSettings
from siwatsystem.detections import Detection
from siwatsystem.loading import Loaded, PipelineKey
from siwatsystem.loops import AnalysisLoop, Member
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline_threads import PipelineThreads
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Subscription
from siwatsystem.testing import FakeModel, FakeSource, fake_pipeline
from siwatsystem.tracing.opening import open_tracer
from siwatsystem.tracing.tracer import Tracer

ROOT = Path(__file__).parent.parent
RATIOS = (None, 0.01, 1.0)
WARM_UP = 5
EMPTY = 20
"""Times as many frames where the model answers at once."""


class _Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def collect(port: Connection) -> None:
    """In a process of its own: take whatever comes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    port.send(server.server_address[1])
    server.serve_forever()


async def analysed(pipeline: Pipeline, pictures: Sequence[Any], count: int, tracer: Tracer | None) -> float:
    """Processor seconds for each of `count` frames, one after the other."""
    source = FakeSource()
    loaded = Loaded(PipelineKey.of(1, "http://m/a"), pipeline)
    threads = PipelineThreads(2)
    done = asyncio.Event()
    loop = AnalysisLoop(
        source,
        loaded,
        None,
        interval_sec=1e-6,
        threads=threads,
        deliver=lambda member, frame, analysis: done.set(),
        on_failure=lambda loop: print(loop.failing),
        tracer=tracer,
    )
    loop.start()
    wish = Subscription("d;c", SourceSpec("rtsp://camera/1"), 1, "M", "http://m/a")
    loop.members["d;c"] = Member(wish, lambda display: None)
    began = 0.0
    for number, picture in zip(range(count + WARM_UP), itertools.cycle(pictures), strict=False):
        if number == WARM_UP:
            began = time.process_time()
        done.clear()
        source.show(picture)
        await done.wait()
    cost = (time.process_time() - began) / count
    loop.stop()
    threads.close()
    return cost


def measure(
    pipeline: Pipeline, pictures: Sequence[Any], count: int, repeats: int, tracers: Sequence[Tracer | None]
) -> list[float]:
    """The median of each side, in seconds of the processor a frame."""
    costs: list[list[float]] = [[] for _ in tracers]
    for _ in range(repeats):
        for side, tracer in zip(costs, tracers, strict=True):
            side.append(asyncio.run(analysed(pipeline, pictures, count, tracer)))
    return [statistics.median(side) for side in costs]


def show(name: str, costs: Sequence[float]) -> None:
    off = costs[0]
    for ratio, cost in zip(RATIOS, costs, strict=True):
        said = "off " if ratio is None else f"{ratio:<4}"
        more = f"{1e6 * (cost - off):+.0f} µs, × {cost / off:.4f}"
        print(f"{name} {said} {1e3 * cost:.3f} ms of the processor a frame: {more}")


def main(
    repeats: Annotated[int, typer.Option(min=1)] = 7, frames: Annotated[int, typer.Option(min=1)] = 40
) -> None:
    """Measure and print."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=collect, args=(theirs,), daemon=True)
    child.start()
    endpoint = f"http://127.0.0.1:{ours.recv()}"
    settings = [TracingSettings(endpoint=ratio and endpoint, sample_ratio=ratio or 0) for ratio in RATIOS]
    tracers = [open_tracer(one) for one in settings]
    pictures = demo_frames(12)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        empty = fake_pipeline(FakeModel((Detection("Car", 0.9, (1, 2, 11, 12)),), ["Car"]))
        show("empty", measure(empty, pictures, frames * EMPTY, repeats, tracers))
        product = Ours(ROOT / "demo" / "demo.mpta", folder)
        stack.callback(product.close)
        show("demo ", measure(product.pipeline, pictures, frames, repeats, tracers))
    for tracer in tracers:
        if tracer is not None:
            tracer.close(5)
    child.terminate()
    child.join()


if __name__ == "__main__":
    typer.run(main)
