"""The product's side of a measurement: the demo archive in a pipeline, its actions thrown away."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from siwatsystem import archive
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.targets import Target
from siwatsystem.config import ModelSettings, RuntimeSettings
from siwatsystem.frames import Image
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.opening import open_pipeline
from siwatsystem.runtime.backend import Precision

CACHE = Path(__file__).parent.parent / ".demo" / "bench"


class _Nowhere:
    """An outbox that takes everything and does nothing."""

    def register(self, target: Target) -> str:
        return target.key

    def submit(self, event: OutboxEvent) -> None:
        pass


class Ours:
    """An archive, opened as the worker opens it; `close` gives everything back."""

    def __init__(self, source: Path, folder: Path) -> None:
        unpacked = archive.extract(source, folder / "archive", ModelSettings())
        settings = RuntimeSettings(precision="exact")
        self._registry = ModelRegistry(settings, CACHE)
        self._threads = ThreadPoolExecutor(max(4, os.cpu_count() or 1), thread_name_prefix="branch")
        self._opened = open_pipeline(unpacked, self._registry, _Nowhere(), self._threads, settings)
        self.pipeline = self._opened.pipeline
        fast = all(model.fast_available for model in self.pipeline.models.values())
        self.precisions: list[Precision] = ["exact", "fast"] if fast else ["exact"]

    def runner(self, precision: Precision) -> Callable[[Image], list[Event]]:
        """The pipeline at that precision, as a function of a BGR picture."""

        def run(image: Image) -> list[Event]:
            self.pipeline.precision = precision
            return self.pipeline.run(image, EventContext("bench;camera", "bench"))

        return run

    def close(self) -> None:
        self._opened.close()
        self._registry.close()
        self._threads.shutdown()
