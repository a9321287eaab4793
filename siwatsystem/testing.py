"""Fakes that ship: models that say what they are told to, cameras that show what they are given, an
outbox that remembers. No GPU, no server."""

import asyncio
import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.config import Settings
from siwatsystem.detections import Classification, Prediction
from siwatsystem.errors import ModelInvalid, StreamError
from siwatsystem.frames import Image
from siwatsystem.loading import PipelineKey
from siwatsystem.opening import Opening
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.spec import parse
from siwatsystem.runtime.backend import Precision, Task
from siwatsystem.runtime.encoder import unit_rows
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.streams.reader import Picture
from siwatsystem.streams.source import Source
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.tracing.tracer import Tracer
from siwatsystem.views import View

Answer = Prediction | Callable[[Image], Prediction]


class FakeModel:
    """A model that gives `answer`, or what it makes of the picture; raises it if it is an error."""

    def __init__(
        self,
        answer: Answer | Exception,
        names: Sequence[str] = (),
        task: Task = "detect",
        fast_answer: Answer | None = None,
    ) -> None:
        self.names = dict(enumerate(names))
        self.task = task
        self.fast_available = fast_answer is not None
        self.batch_size = 1
        self.seen: list[Image] = []
        self._answers: Mapping[Precision, Answer | Exception | None] = {"exact": answer, "fast": fast_answer}
        self._lock = threading.Lock()

    def predict(
        self, image: Image | View, min_confidence: float = 0.25, precision: Precision = "exact"
    ) -> Prediction:
        """The scripted answer."""
        image = View.of(image).image
        with self._lock:
            self.seen.append(image)
        answer = self._answers[precision]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise ModelInvalid("no fast variant")
        return answer if isinstance(answer, Classification | tuple) else answer(image)

    def ensure_fast(self, stop: threading.Event | None = None) -> None:
        """The fast variant is always there."""


class FakeEncoder:
    """An appearance encoder that gives what `look` makes of a crop, brought to length one; raises it if
    it is an error. A `look` of two numbers will do."""

    task = "embed"

    def __init__(self, look: Callable[[Image], Sequence[float]] | Exception, dimensions: int = 2) -> None:
        self.dimensions = dimensions
        self.fast_available = False
        self.seen: list[Image] = []
        self._look = look
        self._lock = threading.Lock()

    def embed(self, images: Sequence[Image], precision: Precision = "exact") -> Floats:
        """n × `dimensions` unit rows, one per crop."""
        with self._lock:
            self.seen.extend(images)
        if isinstance(self._look, Exception):
            raise self._look
        if precision == "fast":
            raise ModelInvalid("no fast variant")
        rows = np.array([self._look(image) for image in images], np.float32)
        return unit_rows(rows.reshape(len(images), self.dimensions))

    def ensure_fast(self) -> None:
        """There is no fast variant. Raises ModelInvalid."""
        raise ModelInvalid("no fast variant")


class RecordingOutbox:
    """An outbox that keeps what is submitted, in order."""

    def __init__(self) -> None:
        self.events: list[OutboxEvent] = []

    def submit(self, event: OutboxEvent) -> None:
        self.events.append(event)

    @property
    def jobs(self) -> list[Job]:
        """Every job of every event, in order."""
        return [job for event in self.events for job in event.jobs]


class FakeRegistry:
    """A model registry that knows models by the name of their file, and counts who holds what."""

    def __init__(
        self, models: Mapping[str, FakeModel], encoders: Mapping[str, FakeEncoder] | None = None
    ) -> None:
        self.held: list[str] = []
        self._models = models
        self._encoders = encoders or {}

    def acquire(self, model_id: str, path: str | Path) -> FakeModel:
        """The model of that file's name. Raises FileNotFoundError where the file is not there."""
        if not Path(path).exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self.held.append(model_id)
        return self._models[Path(path).name]

    def acquire_encoder(self, model_id: str, path: str | Path) -> FakeEncoder:
        """The encoder of that file's name. Raises FileNotFoundError where the file is not there, and
        ModelInvalid where it is no encoder."""
        if not Path(path).exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        if Path(path).name not in self._encoders:
            raise ModelInvalid(f"{Path(path).name} is no encoder")
        self.held.append(model_id)
        return self._encoders[Path(path).name]

    def release(self, model_id: str, model: FakeModel | FakeEncoder | None = None) -> None:
        """Give one reference back; raises ValueError for one that nobody holds."""
        self.held.remove(model_id)


class FakeSource(Source):
    """A source without a camera or thread: it shows, and fails, when it is told to."""

    def __init__(
        self,
        spec: SourceSpec = SourceSpec("rtsp://camera/1"),  # noqa: B008
        on_change: Callable[[Source], None] = lambda _: None,
    ) -> None:
        super().__init__(spec, Settings(), on_change)
        self.retries = 0
        """How often `retry` was called."""
        self.retry = self._count

    @property
    def listeners(self) -> int:
        """How many listen for frames."""
        return len(self._listeners)

    def show(self, image: Image | None = None) -> None:
        """A new frame, black and 64×48 where none is given (H×W×3 BGR)."""
        picture = np.zeros((48, 64, 3), np.uint8) if image is None else image
        self.arrived(Picture(picture, time.time(), time.monotonic()))

    def fail(self, error: StreamError) -> None:
        """The camera is away, told as the real source tells it."""
        self.failed(error)

    def _count(self) -> None:
        self.retries += 1


class FakeSourcePool:
    """Hands out a FakeSource for each spec, and counts; `failure` is raised by the next `acquire`."""

    def __init__(self, on_change: Callable[[Source], None] = lambda _: None) -> None:
        self.sources: dict[SourceSpec, FakeSource] = {}
        self.users: Counter[SourceSpec] = Counter()
        self.opened: list[SourceSpec] = []
        """Every time that a source was opened anew."""
        self.failure: Exception | None = None
        self._on_change = on_change

    def acquire(self, spec: SourceSpec) -> FakeSource:
        """The source of `spec`."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        if not self.users[spec]:
            self.sources[spec] = FakeSource(spec, self._on_change)
            self.opened.append(spec)
        self.users[spec] += 1
        return self.sources[spec]

    def release(self, source: Source) -> None:
        """One user less."""
        self.users[source.spec] -= 1
        if not self.users[source.spec]:
            del self.users[source.spec]

    def close(self, timeout: float = 5.0) -> bool:
        """Forget every user."""
        self.users.clear()
        return True


class FakeOpener:
    """Opens what `make` gives, after `failures` were raised in turn; `gate` holds it up while cleared."""

    def __init__(self, make: Callable[[], Pipeline], failures: Sequence[Exception] = ()) -> None:
        self.failures = list(failures)
        self.gate = threading.Event()
        self.gate.set()
        self.opened: list[PipelineKey] = []
        self.closed: list[tuple[PipelineKey, Pipeline | None]] = []
        self.tracer: Tracer | None = None
        self._make = make

    def open(self, key: PipelineKey, opening: Opening) -> Pipeline:
        """The pipeline, once the gate is open; the next failure first."""
        self.opened.append(key)
        self.gate.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        return self._make()

    def close_pipeline(self, key: PipelineKey, pipeline: Pipeline | None) -> None:
        """Remember what was given back."""
        self.closed.append((key, pipeline))


def fake_pipeline(model: FakeModel, trigger_classes: Sequence[str] = ("Car",)) -> Pipeline:
    """A pipeline of `model` alone, without actions."""
    node = {"modelId": "root", "modelFile": "root.pt", "minConfidence": 0.5}
    spec = parse({"pipeline": {**node, "triggerClasses": list(trigger_classes)}})
    # Threads are for branches only, and there are none: none is ever started.
    return Pipeline(spec, cast(Any, {"root": model}), RecordingOutbox(), {}, ThreadPoolExecutor(1))


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds. Raises TimeoutError when it does not within ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - any state may be asked for, not only what tells
            await asyncio.sleep(0.005)
