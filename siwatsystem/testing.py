"""Fakes that ship: models that say what they are told to, an outbox that remembers. No GPU, no server."""

import errno
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.detections import Classification, Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Precision, Task

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
        self.seen: list[Image] = []
        self._answers: Mapping[Precision, Answer | Exception | None] = {"exact": answer, "fast": fast_answer}
        self._lock = threading.Lock()

    def predict(
        self, image: Image, min_confidence: float = 0.25, precision: Precision = "exact"
    ) -> Prediction:
        """The scripted answer."""
        with self._lock:
            self.seen.append(image)
        answer = self._answers[precision]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise ModelInvalid("no fast variant")
        return answer if isinstance(answer, Classification | tuple) else answer(image)

    def ensure_fast(self) -> None:
        """The fast variant is always there."""


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

    def __init__(self, models: Mapping[str, FakeModel]) -> None:
        self.held: list[str] = []
        self._models = models

    def acquire(self, model_id: str, path: str | Path) -> FakeModel:
        """The model of that file's name. Raises FileNotFoundError where the file is not there."""
        if not Path(path).exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self.held.append(model_id)
        return self._models[Path(path).name]

    def release(self, model_id: str, model: FakeModel | None = None) -> None:
        """Give one reference back; raises ValueError for one that nobody holds."""
        self.held.remove(model_id)
