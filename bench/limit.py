"""How much of the processor the demo pipeline leaves to its models: beside the bare models, the limit.

    python -m bench.limit [--json] [--frames 40] [--times 2] [--repeats 5]

The bare side makes the same calls with inputs that were prepared beforehand, in OpenVINO's
`AsyncInferQueue`, compiled as is fastest of what was tried first. Ours letterboxes, cuts, follows, and makes
the jobs of its actions; these are thrown away, because the bare side writes nothing.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer

from bench.ours import CACHE, Ours
from bench.pictures import demo_frames, enlarged
from bench.record import Measure, Row, Spread, finish
from siwatsystem.config import RuntimeSettings
from siwatsystem.frames import Image, encode_jpeg
from siwatsystem.runtime.auto import load
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.openvino import OpenVINOBackend, with_preparation
from siwatsystem.runtime.task import task_of
from siwatsystem.views import View

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "demo" / "demo.mpta"
PRECISIONS = {"exact": "f32", "fast": "bf16"}
TRIALS = 3
"""Runs of each layout before the best is chosen."""
GOALS = {"without images": 0.88, "with a JPEG": 0.75}
Calls = list[tuple[str, Image]]
"""Models by id and the pictures that they were given, 1 × H × W × 3 BGR, in the order of the calls."""


@dataclass(frozen=True)
class Layout:
    """How the bare models are compiled and asked."""

    hint: str
    streams: int
    requests: int
    by_model: bool
    """All calls of one model before those of the next, else as they come up."""

    def __str__(self) -> str:
        order = "model by model" if self.by_model else "in order"
        return f"{self.hint}, {self.streams} streams, {self.requests} requests, {order}"


def layouts(cores: int) -> list[Layout]:
    """What is tried."""
    return [Layout("LATENCY", 1, requests, by_model=False) for requests in (1, 2)] + [
        Layout("THROUGHPUT", cores, cores + more, by_model) for more in (0, 1) for by_model in (False, True)
    ]


class Bare:
    """The calls of a pipeline without anything around them."""

    def __init__(
        self, networks: dict[str, OpenVINOBackend], calls: Calls, precision: Precision, layout: Layout
    ) -> None:
        import openvino

        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": layout.hint,
            "NUM_STREAMS": str(layout.streams),
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        }
        self.calls = len(calls)
        self._queues: dict[tuple[str, Any], Any] = {}
        for name, picture in calls:
            if (name, picture.shape) in self._queues:
                continue
            backend = networks[name]
            network = core.read_model(backend.file)
            network.reshape([1, 3, *picture.shape[1:3]])
            network = with_preparation(network, backend.metadata.mean, backend.metadata.std)
            compiled = core.compile_model(network, "CPU", options)
            self._queues[name, picture.shape] = openvino.AsyncInferQueue(compiled, layout.requests)
        self._calls = [(self._queues[name, picture.shape], picture) for name, picture in calls]
        if layout.by_model:
            order = list(self._queues.values())
            self._calls.sort(key=lambda call: order.index(call[0]))

    def seconds(self, times: int) -> float:
        """How long all calls take, `times` times."""
        began = time.perf_counter()
        for _ in range(times):
            for queue, picture in self._calls:
                queue.start_async({0: picture}, share_inputs=True)
        for queue in self._queues.values():
            queue.wait_all()
        return time.perf_counter() - began


def calls_of(ours: Ours, frames: Sequence[Image], networks: dict[str, OpenVINOBackend]) -> Calls:
    """What the pipeline asks of its models on these frames, brought to their inputs."""
    calls: Calls = []
    with ExitStack() as held:
        for name, model in ours.pipeline.models.items():
            task = task_of(networks[name].metadata)

            def listen(
                image: Any, *rest: Any, name: str = name, task: Any = task, ask: Any = model.predict
            ) -> Any:
                pixels = image.image if isinstance(image, View) else image
                calls.append((name, np.ascontiguousarray(task.prepare(pixels)[0][None])))
                return ask(image, *rest)

            held.enter_context(patch.object(model, "predict", listen))
        run = ours.runner("exact")
        for frame in frames:
            run(frame)
    return calls


def networks_of(ours: Ours) -> dict[str, OpenVINOBackend]:
    """The archive's models as OpenVINO has them, by id."""
    found: dict[str, OpenVINOBackend] = {}
    for name, model in ours.pipeline.models.items():
        backend = load(model.path, RuntimeSettings(), "exact", CACHE)
        if not isinstance(backend, OpenVINOBackend):
            raise RuntimeError(f"this bench is about OpenVINO; {name} is served by {backend.runtime}")
        found[name] = backend
    return found


def measure(count: int, times: int, repeats: int) -> Row:
    """Both sides in turn, for each precision with and without an image."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as held:
        ours = Ours(ARCHIVE, Path(temporary))
        held.callback(ours.close)
        networks = networks_of(ours)
        small = demo_frames(count)
        large = enlarged(small)
        sides: list[_Side] = []
        for frames, images, also in ((small, "without images", None), (large, "with a JPEG", encode_jpeg)):
            calls = calls_of(ours, frames, networks)
            for precision in ours.precisions:
                known = next((one.layout for one in sides if one.precision == precision), None)
                chosen = fastest(networks, calls, precision) if known is None else (known, {})
                bare = Bare(networks, calls, precision, chosen[0])
                sides.append(_Side(ours, frames, bare, precision, images, also, *chosen))
        for side in sides:
            side.warm_up()
        for _ in range(repeats):
            for side in sides:
                side.measure(times)
    measures = [
        Measure(f"{one.precision}, {one.images}", Spread.of(one.ratios), GOALS[one.images], "least")
        for one in sides
    ]
    figures: dict[str, Any] = {
        f"{one.precision}, {one.images}": {
            "frames_per_sec": asdict(Spread.of(one.rates)),
            "bare": asdict(Spread.of(one.bare_rates)),
            "cpu_ms_per_frame": asdict(Spread.of(one.cpu_ms)),
            "bare_cpu_ms_per_frame": asdict(Spread.of(one.bare_cpu_ms)),
            "bare_is": str(one.layout),
            "tried_ms_per_call": one.tried,
            "calls_per_frame": round(one.calls / count, 3),
        }
        for one in sides
    }
    figures["frames"] = (
        f"{count} different ones, each {times} times a repetition; 1280×720, JPEGs of 1920×1080"
    )
    against = "the same model calls in an AsyncInferQueue, inputs prepared, same precision"
    return Row("limit", 2, "demo pipeline, decoded frames, actions thrown away", against, measures, figures)


def fastest(
    networks: dict[str, OpenVINOBackend], calls: Calls, precision: Precision
) -> tuple[Layout, dict[str, float]]:
    """The layout that takes least time, and the milliseconds a call that each took."""
    sides = {one: Bare(networks, calls, precision, one) for one in layouts(os.cpu_count() or 1)}
    for bare in sides.values():
        bare.seconds(1)
    # In turn, so that what else the machine does meanwhile hits all of them.
    rounds = [{layout: bare.seconds(1) for layout, bare in sides.items()} for _ in range(TRIALS)]
    seconds = {layout: min(found[layout] for found in rounds) for layout in sides}
    tried = {str(layout): round(found / len(calls) * 1000, 2) for layout, found in seconds.items()}
    return min(seconds, key=lambda layout: seconds[layout]), tried


class _Side:
    """One precision, with or without an image: the pipeline, and the bare models as fast as they go."""

    def __init__(
        self,
        ours: Ours,
        frames: list[Image],
        bare: Bare,
        precision: Precision,
        images: str,
        also: Callable[[Image], object] | None,
        layout: Layout,
        tried: dict[str, float],
    ) -> None:
        self.precision: Precision = precision
        self.images = images
        self.layout, self.tried = layout, tried
        self.calls = bare.calls
        self.rates: list[float] = []
        self.bare_rates: list[float] = []
        self.cpu_ms: list[float] = []
        """Processor time of a frame, all threads."""
        self.bare_cpu_ms: list[float] = []
        self._ours, self._frames, self._bare = ours, frames, bare
        self._also = also or (lambda frame: None)

    @property
    def ratios(self) -> list[float]:
        return [one / other for one, other in zip(self.rates, self.bare_rates, strict=True)]

    def warm_up(self) -> None:
        self._bare.seconds(1)
        self._ours.rate(self._frames, self.precision, self._also)

    def measure(self, times: int) -> None:
        """A repetition of both."""
        count = len(self._frames) * times
        began = time.process_time()
        self.bare_rates.append(count / self._bare.seconds(times))
        between = time.process_time()
        self.rates.append(self._ours.rate(self._frames * times, self.precision, self._also)[0])
        self.bare_cpu_ms.append((between - began) / count * 1000)
        self.cpu_ms.append((time.process_time() - between) / count * 1000)


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
