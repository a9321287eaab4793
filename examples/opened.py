"""An archive opened as the worker opens it, with its actions collected instead of carried out."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.targets import Target
from siwatsystem.archive import extract
from siwatsystem.config import ModelSettings, RuntimeSettings
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.opening import open_pipeline


class Collected:
    """Takes the outbox's place: keeps what an archive's actions would do."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        """In the order of their events."""

    def register(self, target: Target) -> str:
        return target.key

    def release(self, key: str) -> None:
        pass

    def submit(self, event: OutboxEvent) -> bool:
        self.jobs += event.jobs
        return True

    def of_kind(self, kind: str) -> list[Job]:
        return [job for job in self.jobs if job.kind == kind]


@contextmanager
def opened(archive: Path, exported: Path | None = None) -> Generator[tuple[Pipeline, Collected]]:
    """The archive's pipeline, exact, and what its actions would have done so far.

    `exported` keeps models made for this machine's runtime, by digest; a temporary folder by default.
    """
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as threads:
        settings = RuntimeSettings(precision="exact")
        registry = ModelRegistry(settings, exported or Path(temporary) / "runtime")
        folder = extract(archive, Path(temporary) / "archive", ModelSettings())
        collected = Collected()
        try:
            pipeline = open_pipeline(folder, registry, collected, threads, settings)
            try:
                yield pipeline.pipeline, collected
            finally:
                pipeline.close()
        finally:
            registry.close()
