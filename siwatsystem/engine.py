"""What pipelines stand on: archive store, model registry, outbox, embedded servers. Opens and closes
pipelines for the loader, on its threads."""

import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from siwatsystem import archive_tests, heaps
from siwatsystem.actions.base import Problem
from siwatsystem.actions.outbox import Outbox
from siwatsystem.archive_shelf import Copy
from siwatsystem.config import Settings
from siwatsystem.cores import usable_cores
from siwatsystem.embedded.servers import EmbeddedServers
from siwatsystem.errors import ModelRefused
from siwatsystem.loading import PipelineKey
from siwatsystem.model_registry import ModelRegistry, longest_load, set_default_registry
from siwatsystem.mpta_manager import ArchiveStore, set_default_store
from siwatsystem.opening import Opening
from siwatsystem.pipeline.branch_threads import BranchThreads
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.opening import OpenPipeline, open_pipeline
from siwatsystem.proofs import Proof, Proofs
from siwatsystem.runtime.auto import check
from siwatsystem.signatures import Trust
from siwatsystem.signing_keys import read_trusted
from siwatsystem.supervision import Care, Watched
from siwatsystem.tracing.opening import open_tracer
from siwatsystem.tracing.tracer import Tracer

log = logging.getLogger(__name__)

USER = "worker"
MODEL_SUFFIXES = (".pt", ".onnx", ".engine", ".xml")
TRACES_SEC = 0.5
"""How long the collector may take for the last traces."""
OPENED_AT_A_TIME = 2
"""Archives whose models are exported and compiled at a time: that takes cores and memory."""


class Engine:
    """One per worker. `start` and `close` once each; `open` and `close_pipeline` from any thread."""

    def __init__(
        self, settings: Settings, on_problem: Callable[[Problem], None], care: Care | None = None
    ) -> None:
        self._settings = settings
        self._on_problem = on_problem
        self._care = care or Care()
        self._open: dict[int, OpenPipeline] = {}
        self._lock = threading.Lock()
        self._opening = threading.Semaphore(OPENED_AT_A_TIME)
        self._closing = threading.Event()
        self.tracer: Tracer | None = None
        """Where frames are traced."""

    def start(self) -> None:
        """Open the stores below `data_dir`. Raises InvalidSetting where another worker holds them, for a
        trusted key that is none, for a device or runtime that is not here, and for traces that cannot be
        made."""
        settings, folder = self._settings, self._settings.data_dir
        check(settings.runtime)
        self.tracer = open_tracer(settings.tracing)
        self._trust = Trust(read_trusted(settings.models.trusted_keys), settings.require_signature)
        self.embedded = EmbeddedServers(
            folder,
            redis_port=settings.embedded.redis_port,
            postgresql_port=settings.embedded.postgresql_port,
        )
        self.outbox = Outbox(
            settings.outbox,
            folder / "outbox.sqlite",
            on_problem=self._on_problem,
            embedded=self.embedded,
            watch=self._care.watch,
            stuck_sec=settings.supervision.outbox_stuck_sec,
            tracer=self.tracer,
        )
        self.archives = ArchiveStore(settings.models, folder / "models", settings.models.allow_file)
        set_default_store(self.archives)
        self._proofs = Proofs(folder / "models" / ".tests")
        self.registry = ModelRegistry(settings.runtime, folder / "models" / ".runtime", self._care)
        set_default_registry(self.registry)
        branches = max(4, usable_cores())
        self._branches = BranchThreads(branches, self._care.stuck_sec)
        self._care.watch(Watched("thread pool", "branches", self._branches.wrong, self._branches.renew))

    def open(self, key: PipelineKey, opening: Opening) -> Pipeline:
        """Fetch, check, load and, where set, test an archive. Raises ModelError, PipelineFailed."""
        copy = self.archives.take(key.model_id, key.url, _user(key))
        with self._turn(opening, copy.folder):
            # Right before it is loaded: what was changed on the disk since it was fetched is seen too.
            signature = self._trust.check(copy.folder)
            if signature.kind != "unsigned":
                log.info("model %s is %s", key.model_id, signature)
            opened = open_pipeline(
                copy.folder, self.registry, self.outbox, self._branches, self._settings.runtime
            )
        try:
            if self._settings.models.run_tests:
                self._prove(copy, opened.pipeline)
        except BaseException:
            opened.close()
            raise
        with self._lock:
            self._open[id(opened.pipeline)] = opened
        return opened.pipeline

    @contextlib.contextmanager
    def _turn(self, opening: Opening, folder: Path) -> Generator[None]:
        """Wait for one of the turns to load an archive; one that hangs gives its turn back when given up."""
        models = sum(path.suffix.lower() in MODEL_SUFFIXES for path in folder.rglob("*"))
        self._opening.acquire()
        with opening.within(max(1, models) * longest_load(self._settings.runtime), self._opening.release):
            yield

    def _prove(self, copy: Copy, pipeline: Pipeline) -> None:
        """Let the archive pass its own tests. Raises ModelRefused where one fails."""
        proof = self._proofs.find(copy.digest, pipeline)
        if proof is None:
            report = archive_tests.run(pipeline, copy.folder, self._branches, stopped=self._closing.is_set)
            proof = Proof(len(report.results), report.first_failure)
            self._proofs.keep(copy.digest, pipeline, proof)
            done = "failed" if proof.failure else f"passed {proof.cases}"
            log.info("%s: tests of the archive: %s", pipeline.spec.pipeline.model_id, done)
        if proof.failure is not None:
            raise ModelRefused(f"the archive fails its own tests: {proof.failure}")
        if not proof.cases:
            log.warning("%s: the archive has no tests", pipeline.spec.pipeline.model_id)

    def close_pipeline(self, key: PipelineKey, pipeline: Pipeline | None) -> None:
        """Give back what `open` took, also where it failed (`pipeline` is None then)."""
        if pipeline is not None:
            with self._lock:
                opened = self._open.pop(id(pipeline), None)
            if opened is not None:
                opened.close()
                heaps.give_back()
        self.archives.release(key.model_id, _user(key), key.url)

    def close(self, timeout: float) -> None:
        """End everything within about `timeout` seconds; what was accepted stays on disk."""
        self._closing.set()
        models = threading.Thread(target=self._close_models, name="close-models", daemon=True)
        models.start()
        models.join(timeout / 2)
        if models.is_alive():
            log.warning("models are still at work after %.1f s and are left alone", timeout / 2)
        self.outbox.close(timeout / 2)
        if self.tracer is not None:
            self.tracer.close(min(TRACES_SEC, timeout / 2))
        self.embedded.close()

    def _close_models(self) -> None:
        # First what others may be waiting in: a download, an export.
        set_default_store(None)
        self.archives.close()
        with self._lock:
            opened = list(self._open.values())
            self._open.clear()
        for one in opened:
            one.close()
        self._branches.shutdown(wait=False, cancel_futures=True)
        set_default_registry(None)
        self.registry.close()

    @property
    def branches(self) -> BranchThreads:
        """The threads that branches run in."""
        return self._branches

    def status(self) -> dict[str, Any]:
        """The outbox's state, for `/health`."""
        return self.outbox.status()


def _user(key: PipelineKey) -> str:
    return f"{USER}:{key.bare}"
