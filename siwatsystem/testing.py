"""Fakes that ship: models that say what they are told to, an outbox that remembers. No GPU, no server."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.detections import Prediction
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
        self._answers: Mapping[Precision, Any] = {"exact": answer, "fast": fast_answer}
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
        return answer(image) if callable(answer) else answer

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
