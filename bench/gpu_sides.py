"""Both sides of `bench.gpu`: the demo pipeline on frames in memory, and its bare models.

Bare means: the network alone, on tensors that lie on the device already, at one batch size, replayed
from a CUDA graph where that is faster. No upload, no letterboxing, no boxes, no crops: a limit that
nothing can reach that has to look at a frame.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem import archive
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.targets import Target
from siwatsystem.config import ModelSettings, RuntimeSettings
from siwatsystem.frames import Image
from siwatsystem.metrics import BATCH_SIZE
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.opening import open_pipeline
from siwatsystem.runtime.backend import Precision
from siwatsystem.views import View

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "demo" / "demo.mpta"
CACHE = ROOT / ".demo" / "bench"
BATCHES = (1, 2, 4, 8, 16)
CAMERA = 1080, 1920
_WARM_CALLS = 3
_CALLS = 5
"""Calls between two looks at the clock: enough to keep a GPU's queue filled."""


class _Nowhere:
    """An outbox that takes everything and does nothing."""

    def register(self, target: Target) -> str:
        return target.key

    def release(self, key: str) -> None:
        pass

    def submit(self, event: OutboxEvent) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Variant:
    """A runtime and a precision that the pipeline is measured with."""

    name: str
    backend: str
    precision: Precision


def variants(device: str, tensorrt: bool) -> list[Variant]:
    """What there is to measure on `device`, the likely fastest last."""
    found = [Variant("torch exact", "torch", "exact")]
    if device == "cuda":
        found.append(Variant("torch half", "torch", "fast"))
        if tensorrt:
            found.append(Variant("TensorRT half", "tensorrt", "fast"))
    return found


class Side:
    """The demo archive, opened as the worker opens it, in one variant. `close` gives everything back."""

    def __init__(self, variant: Variant, device: str, folder: Path, branches: int = 64) -> None:
        """Raises ModelInvalid where the variant cannot be loaded."""
        settings = RuntimeSettings(device=device, backend=variant.backend, precision="exact")  # pyright: ignore
        began = time.perf_counter()
        unpacked = archive.extract(ARCHIVE, folder / "archive", ModelSettings())
        self._registry = ModelRegistry(settings, CACHE)
        self._threads = ThreadPoolExecutor(branches, thread_name_prefix="branch")
        self._opened = open_pipeline(unpacked, self._registry, _Nowhere(), self._threads, settings)
        self.pipeline = self._opened.pipeline
        if variant.precision == "fast":
            for model in self.pipeline.models.values():
                model.ensure_fast()
        self.pipeline.precision = variant.precision
        self.variant = variant
        self.load_sec = time.perf_counter() - began
        self._context = EventContext("bench;camera", "bench")

    def run(self, picture: Image | View) -> int:
        """One frame through the pipeline; how many events it gave."""
        return len(self.pipeline.run(picture, self._context))

    @property
    def runtimes(self) -> dict[str, str]:
        """What really serves each model."""
        return {name: self._backend(name).runtime for name in self.pipeline.models}

    @property
    def recorded(self) -> dict[str, int]:
        """CUDA graphs of each model."""
        return {name: getattr(self._backend(name), "recorded", 0) for name in self.pipeline.models}

    def _backend(self, name: str) -> Any:
        model: Any = self.pipeline.models[name]
        batcher = model._exact if self.variant.precision == "exact" else model._fast
        return batcher.backend

    def bare(self, name: str) -> tuple[Callable[[Any], Any], Any, tuple[int, int]]:
        """A model's network without all that is around it, what makes its input of bytes, and the height
        and width of its input for a camera's picture."""
        import torch

        backend = self._backend(name)
        if backend.runtime == "tensorrt":
            size = backend._task.plan(*CAMERA).size if backend.task == "detect" else backend.input_size
            return (
                lambda pictures: backend._engine(pictures, torch.cuda.current_stream()),
                backend._prepare,
                size,
            )
        return backend.network, backend.prepare, backend.usual_size()

    def close(self) -> None:
        self._opened.close()
        self._registry.close()
        self._threads.shutdown()


def calls(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many calls each model had so far, and pictures in them."""
    out: dict[str, tuple[int, int]] = {}
    for metric in BATCH_SIZE.collect():
        for sample in metric.samples:
            name = sample.labels["model"]
            count, pictures = out.get(name, (0, 0))
            if sample.name.endswith("_count"):
                out[name] = int(sample.value), pictures
            elif sample.name.endswith("_sum"):
                out[name] = count, int(sample.value)
    return {name: out.get(name, (0, 0)) for name in names}


@dataclass(frozen=True, slots=True)
class Throughput:
    """Frames/s, and per model the pictures of a frame and the mean batch."""

    rate: float
    per_frame: dict[str, float]
    batch: dict[str, float]
    events: int


def saturated(side: Side, frames: Sequence[Image], callers: int, seconds: float) -> Throughput:
    """The pipeline with so many frames under way at a time, for `seconds`, each frame a new one to it."""
    names = [Path(node.model_file).stem for node in side.pipeline.spec.pipeline.walk()]
    lock = threading.Lock()
    done = [0, 0]
    barrier = threading.Barrier(callers + 1)
    end = [0.0]

    def work(first: int) -> None:
        index, frames_done, events = first, 0, 0
        barrier.wait()
        while time.perf_counter() < end[0]:
            events += side.run(frames[index % len(frames)])
            frames_done += 1
            index += callers
        with lock:
            done[0] += frames_done
            done[1] += events

    threads = [threading.Thread(target=work, args=(index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    before = calls(names)
    end[0] = time.perf_counter() + seconds
    began = time.perf_counter()
    barrier.wait()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    after = calls(names)
    made = {name: after[name][0] - before[name][0] for name in names}
    pictures = {name: after[name][1] - before[name][1] for name in names}
    return Throughput(
        done[0] / took,
        {name: pictures[name] / max(1, done[0]) for name in names},
        {name: pictures[name] / max(1, made[name]) for name in names},
        done[1],
    )


def paced(side: Side, frames: Sequence[Image], rate: float, callers: int, seconds: float) -> dict[str, float]:
    """Milliseconds from when a frame was due to when its events were there, at `rate` frames/s."""
    ages: list[float] = []
    number = [0]
    lock = threading.Lock()
    began = time.perf_counter() + 0.05
    last = max(1, int(rate * seconds))

    def work() -> None:
        while True:
            with lock:
                index, number[0] = number[0], number[0] + 1
            if index >= last:
                return
            due = began + index / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            side.run(frames[index % len(frames)])
            age = (time.perf_counter() - due) * 1000
            with lock:
                ages.append(age)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(ages, [50, 99])
    return {"rate": round(rate, 1), "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def bare_rates(
    side: Side, device: str, seconds: float, batches: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Pictures/s of each model's bare network, by batch, `seconds` each."""
    out: dict[str, dict[int, float]] = {}
    for node in side.pipeline.spec.pipeline.walk():
        network, prepare, size = side.bare(node.model_id)
        out[Path(node.model_file).stem] = {
            batch: _bare_rate(network, prepare, size, batch, device, seconds) for batch in batches
        }
    return out


def limit(rates: dict[str, dict[int, float]], per_frame: dict[str, float]) -> tuple[float, dict[str, int]]:
    """Frames/s of the bare models one after the other, each at its best batch, on as many pictures a
    frame as the pipeline had; and those batches."""
    best = {name: max(found, key=lambda batch: found[batch]) for name, found in rates.items()}
    seconds = sum(per_frame[name] / rates[name][batch] for name, batch in best.items())
    return 1 / seconds, best


def _bare_rate(
    network: Any, prepare: Any, size: tuple[int, int], batch: int, device: str, seconds: float
) -> float:
    import torch

    cuda = device == "cuda"
    noise = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
    with torch.inference_mode():
        pictures = prepare(torch.from_numpy(noise).to("cuda:0" if cuda else "cpu"))
        if not cuda:
            return batch * _timed(lambda: network(pictures), lambda: None, seconds)
        torch.cuda.synchronize()
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            eager = _timed(lambda: network(pictures), stream.synchronize, seconds / 2)
            try:
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    network(pictures)
            except RuntimeError:
                return batch * eager
            return batch * max(eager, _timed(graph.replay, stream.synchronize, seconds / 2))


def _timed(call: Callable[[], Any], settle: Callable[[], Any], seconds: float) -> float:
    """Calls per second."""
    for _ in range(_WARM_CALLS):
        call()
    settle()
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        for _ in range(_CALLS):
            call()
        settle()
        done += _CALLS
    return done / took if done else 0.0
