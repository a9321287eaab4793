"""Opened pipelines, one per model id and URL, loaded in the background and tried again on failure.

Everything here runs on the event loop's thread, except `_open`, which downloads and loads in a
pool of threads so that one slow archive does not hold up another.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from siwatsystem.config import Settings
from siwatsystem.download import bare_url
from siwatsystem.errors import ModelError, ModelInvalid, Overloaded, SiwatError
from siwatsystem.model_registry import LoadingStuck
from siwatsystem.opening import Opening
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.supervision import MOST_STUCK, Forget, Watch, Watched, unwatched

log = logging.getLogger(__name__)

LOADER_THREADS = 32
"""Archives fetched at a time: a server that answers slowly holds up nobody else's."""
LONGEST_WAIT_SEC = 60.0


@dataclass(frozen=True, slots=True)
class PipelineKey:
    """What makes two subscriptions share a pipeline: model id and URL, its query aside.

    The query may be a signature, which is another one for every subscription.
    """

    model_id: int | str
    bare: str
    url: str = field(compare=False, repr=False)

    @classmethod
    def of(cls, model_id: int | str, url: str) -> "PipelineKey":
        return cls(model_id, bare_url(url), url)


class Opener(Protocol):
    """Fetches and loads pipelines. Both calls block, and are made from a loader thread."""

    def open(self, key: PipelineKey, opening: Opening) -> Pipeline:
        """The pipeline, ready to run; what may hang is done `within` `opening`. Raises ModelError."""
        ...

    def close_pipeline(self, key: PipelineKey, pipeline: Pipeline | None) -> None:
        """Give back what `open` took, also after it failed."""
        ...


@dataclass(eq=False)
class Loaded:
    """A pipeline that somebody wants: there, being loaded (neither), or failed for now."""

    key: PipelineKey
    pipeline: Pipeline | None = None
    error: SiwatError | None = None
    users: int = 0
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)
    opening: Opening | None = field(default=None, repr=False)
    """The newest attempt to open it."""

    def asked_as(self, key: PipelineKey) -> None:
        """Somebody asks for it with that query, which counts should it have to be fetched again. An address
        without one (the dashboard's, which knows no signatures) takes none away."""
        if key.url != key.bare or self.key.url == self.key.bare:
            self.key = key


class PipelineLoader:
    """Counted references to pipelines. `on_change` is told when one is ready or has failed."""

    def __init__(
        self,
        opener: Opener,
        settings: Settings,
        on_change: Callable[[Loaded], None],
        watch: Watch = unwatched,
    ) -> None:
        self._opener = opener
        self._watch = watch
        self._hung: set[Opening] = set()
        """Attempts that were given up and have not come back since."""
        self._settings = settings
        self._on_change = on_change
        self._loaded: dict[PipelineKey, Loaded] = {}
        self._threads = ThreadPoolExecutor(LOADER_THREADS, thread_name_prefix="load")
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="unload")

    def acquire(self, key: PipelineKey) -> Loaded:
        """The pipeline of `key`, whose loading begins now if nobody had it."""
        entry = self._loaded.get(key)
        if entry is None:
            entry = self._loaded[key] = Loaded(key)
            entry.task = asyncio.create_task(self._keep(entry), name=f"load-{key.model_id}")
        entry.asked_as(key)
        entry.users += 1
        return entry

    def release(self, entry: Loaded) -> None:
        """One user less; the last one closes it, in the background."""
        entry.users -= 1
        if entry.users > 0:
            return
        self._loaded.pop(entry.key, None)
        if entry.task is not None:
            entry.task.cancel()

    def retry(self, entry: Loaded) -> None:
        """Try a failed one again at once (its subscription was replaced)."""
        if entry.error is not None and entry.pipeline is None:
            if entry.task is not None:
                entry.task.cancel()
            entry.error = None
            entry.task = asyncio.create_task(self._keep(entry), name=f"load-{entry.key.model_id}")

    def all(self) -> list[Loaded]:
        return list(self._loaded.values())

    async def close(self) -> None:
        """Close every pipeline. A download that is under way is left to its own deadline."""
        tasks = [entry.task for entry in self._loaded.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loaded.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._closer.shutdown(wait=False)

    async def _keep(self, entry: Loaded) -> None:
        """Load `entry`, as often as it takes, then hold it until cancelled."""
        failures = 0
        while True:
            key = entry.key
            try:
                entry.pipeline = await self._open(entry, key)
            except SiwatError as error:
                failures += 1
                entry.error = error
                log.warning("model %s: %s", entry.key.model_id, error.message)
                self._on_change(entry)
                await self._rest(error, failures)
                continue
            try:
                entry.error = None
                log.info("model %s is ready", entry.key.model_id)
                self._on_change(entry)
                await asyncio.get_running_loop().create_future()  # until the last user has gone
            finally:
                pipeline, entry.pipeline = entry.pipeline, None
                self._closer.submit(self._opener.close_pipeline, key, pipeline)

    async def _open(self, entry: Loaded, key: PipelineKey) -> Pipeline:
        opening = entry.opening = Opening()
        try:
            job = self._threads.submit(self._open_blocking, key, opening)
        except RuntimeError as error:
            # No thread is to be had; that passes.
            raise Overloaded(f"the model cannot be loaded now: {error}") from error
        opened, stuck = asyncio.wrap_future(job), asyncio.get_running_loop().create_future()
        give_up = partial(self._give_up, opening, stuck)
        forget = self._watch(Watched("loading", f"model {key.model_id}", opening.look, give_up))
        job.add_done_callback(lambda _: self._came_back(opening, forget))
        try:
            await asyncio.wait((opened, stuck), return_when=asyncio.FIRST_COMPLETED)
            if opened.done():
                return opened.result()
            raise LoadingStuck(f"the model was given up: {stuck.result()}")
        except (asyncio.CancelledError, LoadingStuck):
            # The thread goes on to its end, if it has one; what it then holds must not stay open.
            opened.cancel()
            job.add_done_callback(lambda done: self._discard(key, done))
            raise

    def _give_up(self, opening: Opening, stuck: "asyncio.Future[str]") -> bool:
        """From the supervisor's thread: try it again, beside what hangs. False where too many do."""
        reason = opening.look(time.monotonic())
        if reason is None or len(self._hung) >= MOST_STUCK:
            return False
        self._hung.add(opening)
        opening.give_up()
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            stuck.get_loop().call_soon_threadsafe(_settle, stuck, reason)
        return True

    def _came_back(self, opening: Opening, forget: Forget) -> None:
        """From a loader thread, or the event loop's."""
        forget()
        self._hung.discard(opening)

    def _open_blocking(self, key: PipelineKey, opening: Opening) -> Pipeline:
        try:
            return self._opener.open(key, opening)
        except SiwatError:
            self._opener.close_pipeline(key, None)
            raise
        except Exception as error:
            # Archives come from outside: whatever a library makes of one, the worker goes on.
            log.exception("model %s could not be opened", key.model_id)
            self._opener.close_pipeline(key, None)
            raise ModelInvalid(f"the model could not be opened: {type(error).__name__}: {error}") from error

    def _discard(self, key: PipelineKey, done: "Future[Pipeline]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        try:
            self._closer.submit(self._opener.close_pipeline, key, done.result())
        except RuntimeError:  # closed meanwhile: this thread does it
            self._opener.close_pipeline(key, done.result())

    async def _rest(self, error: SiwatError, failures: int) -> None:
        """Wait before the next attempt: for long after a permanent failure or too many passing ones."""
        settings = self._settings
        retries = settings.max_retries
        if (isinstance(error, ModelError) and error.permanent) or (retries >= 0 and failures > retries):
            await asyncio.sleep(settings.permanent_retry_sec)
            return
        base = min(settings.reconnect_interval_sec * 2 ** min(failures - 1, 16), LONGEST_WAIT_SEC)
        await asyncio.sleep(base * random.uniform(0.5, 1.0))  # nosec B311 # jitter


def _settle(stuck: "asyncio.Future[str]", reason: str) -> None:
    if not stuck.done():
        stuck.set_result(reason)
