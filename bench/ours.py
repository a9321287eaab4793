"""The product's side of a measurement: the demo archive in a pipeline, fed as the worker feeds it."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from siwatsystem import archive
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import Target
from siwatsystem.config import ModelSettings, OutboxSettings, RuntimeSettings
from siwatsystem.embedded.servers import EmbeddedServers
from siwatsystem.frames import Image
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.opening import open_pipeline
from siwatsystem.runtime.backend import Precision

CACHE = Path(__file__).parent.parent / ".demo" / "bench"
DELIVERY_SEC = 60.0
"""Longest wait for the last record after the last frame."""


class _Nowhere:
    """An outbox that takes everything and does nothing."""

    def register(self, target: Target) -> str:
        return target.key

    def release(self, key: str) -> None:
        pass

    def submit(self, event: OutboxEvent) -> None:
        pass


class Ours:
    """An archive, opened as the worker opens it; `close` gives everything back."""

    def __init__(self, source: Path, folder: Path, servers: EmbeddedServers | None = None) -> None:
        """What is caused goes through an outbox on disk to `servers`; without them it is thrown away."""
        unpacked = archive.extract(source, folder / "archive", ModelSettings())
        settings = RuntimeSettings(precision="exact")
        self._registry = ModelRegistry(settings, CACHE)
        cores = os.cpu_count() or 1
        self._branches = ThreadPoolExecutor(max(4, cores), thread_name_prefix="branch")
        self._feeders = ThreadPoolExecutor(max(4, cores + 1), thread_name_prefix="pipeline")
        self._outbox: Outbox | None = None
        if servers is not None:
            self._outbox = Outbox(OutboxSettings(), folder / "outbox.sqlite", embedded=servers)
        sink = self._outbox or _Nowhere()
        self._opened = open_pipeline(unpacked, self._registry, sink, self._branches, settings)
        self.pipeline = self._opened.pipeline
        fast = all(model.fast_available for model in self.pipeline.models.values())
        self.precisions: list[Precision] = ["exact", "fast"] if fast else ["exact"]

    def runner(self, precision: Precision) -> Callable[[Image], list[Event]]:
        """The pipeline at that precision, as a function of a BGR picture."""

        def run(image: Image) -> list[Event]:
            self.pipeline.precision = precision
            return self.pipeline.run(image, EventContext("bench;camera", "bench"))

        return run

    def rate(
        self,
        frames: Sequence[Image],
        precision: Precision,
        also: Callable[[Image], object] = lambda frame: None,
    ) -> tuple[float, int]:
        """Frames a second and how many events they had, several frames at a time; `also` is done with
        each of them. The time ends when the servers have everything.

        Raises RuntimeError if anything that the frames caused was dropped, or is not there in time.
        """
        run = self.runner(precision)

        def one(frame: Image) -> int:
            events = run(frame)
            also(frame)
            return len(events)

        began = time.perf_counter()
        events = sum(self._feeders.map(one, frames))
        self._delivered()
        return len(frames) / (time.perf_counter() - began), events

    def _delivered(self) -> None:
        if self._outbox is None:
            return
        deadline = time.monotonic() + DELIVERY_SEC
        while (status := self._outbox.status())["pending"] or status["depth"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not delivered within {DELIVERY_SEC:.0f} s: {status}")
            time.sleep(0.002)
        if status["dropped"] or status["failed"] or status["degraded"]:
            raise RuntimeError(f"not everything was delivered: {status}")

    def close(self) -> None:
        self._feeders.shutdown()
        self._opened.close()
        self._registry.close()
        self._branches.shutdown()
        if self._outbox is not None:
            self._outbox.close()
