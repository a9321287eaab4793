"""The analysis app: one pipeline, slots that share it, and the conversation with a control server.

The event loop belongs to the main thread and to the conversation; the pipeline is loaded in a thread of
its own, each slot has one, and what they have to say comes to the loop in their order.
"""

import asyncio
import hashlib
import logging
import os
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

from siwatsystem import __version__
from siwatsystem.analysis.app_config import AppConfig
from siwatsystem.analysis.app_metrics import AppMeter
from siwatsystem.analysis.archives import Archives
from siwatsystem.analysis.desk import Desk, Fact, said, timestamp
from siwatsystem.analysis.doing import actions_of
from siwatsystem.analysis.link import HandshakeRefused, Link
from siwatsystem.analysis.slot import Slot, Work, live_refusal
from siwatsystem.config import Settings
from siwatsystem.deepstream.fields import RequestId
from siwatsystem.deepstream.messages import AppMessage, ServerMessage
from siwatsystem.deepstream.to_app import (
    InterruptAnalysis,
    PushFile,
    QueryAnalysisStatus,
    QueryMetrics,
    StartAnalysis,
    TerminateApp,
)
from siwatsystem.deepstream.to_server import AppReady, AppTerminated, ProcessingStarted
from siwatsystem.errors import SiwatError
from siwatsystem.pipeline.executor import Pipeline

log = logging.getLogger(__name__)

OK, FAILED, USAGE, REFUSED = 0, 1, 2, 3
"""Exit statuses."""
LOADING_SEC = 60.0
"""After so long the server is told that the app is there, though its models are still being prepared."""
PROGRESS_SEC = 2.0
LEAVE_SEC = 4.0
"""For the frames that are under way at the end."""
FAREWELL_SEC = 2.0
SETTLE_SEC = 1.0
"""For actions at the end; what is not done then stays in the outbox."""
ANSWERS = 10_000
"""Commands that are remembered, for their repeats."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the app is, to the server."""

    server: str
    token: str | None
    instance_id: str
    config_path: str
    """As it was given: the server compares it with what it launched."""
    streams: int
    gpus: Sequence[int] | None


class App:
    def __init__(self, identity: Identity, config: AppConfig, settings: Settings) -> None:
        self._identity = identity
        self._config = config
        self._settings = settings
        self._desk = Desk(identity.streams, self._tell, lambda asked: live_refusal(asked, config, settings))
        self._slots: list[Slot] = []
        self._meter = AppMeter(identity.gpus)
        self._answers: OrderedDict[RequestId, list[AppMessage]] = OrderedDict()
        self._started_at = timestamp()
        self._asked_by: RequestId | None = None
        self._held = ExitStack()

    async def run(self) -> int:
        """Until the server or a signal ends it; the exit status. Threads may be in the midst of something
        then, which needs no end but that of the process."""
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._link = Link(self._identity.server, self._identity.token, self._ready, self._answer)
        loading: asyncio.Future[Work] = loop.create_future()
        self._in_thread("load", lambda: self._load(loop, loading))
        ending = asyncio.ensure_future(self._stop.wait())
        # A server that waits for the app learns what cannot be loaded from its exit.
        await asyncio.wait({loading, ending}, timeout=LOADING_SEC, return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and loading.exception() is not None:
            return self._not_loaded(loading)
        talking = asyncio.ensure_future(self._link.run())
        telling = asyncio.ensure_future(self._report())
        try:
            return await self._until_the_end(loading, ending, talking)
        finally:
            for task in (talking, telling, ending):
                task.cancel()
            await asyncio.gather(talking, telling, ending, return_exceptions=True)

    async def _until_the_end(
        self, loading: "asyncio.Future[Work]", ending: "asyncio.Task[bool]", talking: "asyncio.Task[None]"
    ) -> int:
        status = OK
        await asyncio.wait({loading, ending, talking}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and not ending.done() and not talking.done():
            if loading.exception() is not None:
                return self._not_loaded(loading)  # without a farewell: that would look like a good end
            self._begin(loading.result())
            await asyncio.wait({ending, talking}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            status = self._refused(talking)
        await self._end()
        return status

    def _begin(self, work: Work) -> None:
        self._slots = [Slot(number, self._desk, work) for number in range(self._identity.streams)]
        for slot in self._slots:
            slot.start()
        log.info("%d slots are ready", len(self._slots))

    async def _end(self) -> None:
        """Leave what is under way, say so, give everything back: all of it bounded."""
        count = self._desk.stop()
        left = await asyncio.to_thread(self._wait_for_slots)
        message = f"{count} cameras were ended"
        last = said(AppTerminated, request_id=self._asked_by, status="ok", message=message)
        await self._link.finish(last, FAREWELL_SEC)
        if left:
            closing_all = self._in_thread("close", self._held.close)
            await asyncio.to_thread(closing_all.join, SETTLE_SEC + FAREWELL_SEC)

    def _in_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def _wait_for_slots(self) -> bool:
        """Whether no frame is under way any more."""
        deadline = time.monotonic() + LEAVE_SEC
        ended = [slot.join(deadline - time.monotonic()) for slot in self._slots]
        return all(ended)

    # --- the pipeline -----------------------------------------------------------------------------

    def _load(self, loop: asyncio.AbstractEventLoop, loading: "asyncio.Future[Work]") -> None:
        """In a thread of its own: models take seconds, exports minutes."""

        def done(work: Work | None, error: Exception | None) -> None:
            if loading.cancelled():
                return
            if work is not None:
                loading.set_result(work)
            elif error is not None:
                loading.set_exception(error)

        try:
            result, failure = self._open(), None
        except Exception as error:
            if not isinstance(error, SiwatError | OSError):
                log.exception("the pipeline cannot be loaded")
            result, failure = None, error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(done, result, failure)

    def _open(self) -> Work:
        """Raises SiwatError, OSError."""
        config = self._config
        with ExitStack() as held:
            archives = held.enter_context(closing(Archives(self._settings)))
            actions = held.enter_context(actions_of(self._settings, do=config.actions == "do"))
            held.callback(actions.settle, SETTLE_SEC)
            pipeline = held.enter_context(archives.opened(config.archive, actions, config.classes))
            work = Work(pipeline, _digest(pipeline, config), actions, config, self._settings)
            self._held = held.pop_all()
            return work

    def _not_loaded(self, loading: "asyncio.Future[Work]") -> int:
        error = loading.exception()
        text = error.message if isinstance(error, SiwatError) else f"{type(error).__name__}: {error}"
        archive = self._config.archive
        log.error("%s cannot be used: %s", archive, text.removeprefix(f"{archive}: "))
        return FAILED

    def _refused(self, talking: "asyncio.Task[None]") -> int:
        error = talking.exception()
        if isinstance(error, HandshakeRefused):
            log.error("%s", error.message)
            return REFUSED
        log.error("the conversation failed", exc_info=error)
        return FAILED

    # --- the conversation -------------------------------------------------------------------------

    def _tell(self, fact: Fact) -> None:
        """Called by slots' threads. That a file has begun is worth nothing later."""
        self._link.tell_soon(fact, is_fact=not isinstance(fact, ProcessingStarted))

    def _ready(self, reconnection: bool, last_close_code: int | None) -> AppReady:
        again = {"reconnection": True, "last_close_code": last_close_code} if reconnection else {}
        return said(
            AppReady,
            instance_id=self._identity.instance_id,
            config_path=self._identity.config_path,
            process_id=os.getpid(),
            streams_count=self._identity.streams,
            status="ready",
            version=__version__,
            start_time=self._started_at,
            gpu_allocated=None if self._identity.gpus is None else list(self._identity.gpus),
            **again,
        )

    def _answer(self, message: ServerMessage) -> list[AppMessage]:
        """What is said at once. A command that was done is not done again."""
        match message:
            case QueryMetrics():
                return [self._meter.read(message.request_id, [slot.speed.read() for slot in self._slots])]
            case QueryAnalysisStatus():
                return [self._desk.status(message)]
            case TerminateApp():
                self._asked_by = message.request_id
                self._stop.set()
                return []
            case StartAnalysis() | PushFile() | InterruptAnalysis():
                return self._command(message)
            case _:
                return []

    def _command(self, message: StartAnalysis | PushFile | InterruptAnalysis) -> list[AppMessage]:
        known = None if message.request_id is None else self._answers.get(message.request_id)
        if known is not None:
            return known
        answers: list[AppMessage] = []
        match message:
            case StartAnalysis():
                answers = [self._desk.start(message)]
            case PushFile():
                ack, again = self._desk.push(message)
                answers = [ack, *again]
            case InterruptAnalysis():
                answer = self._desk.interrupt(message)
                answers = [] if answer is None else [answer]
        if message.request_id is not None:
            self._answers[message.request_id] = answers
            if len(self._answers) > ANSWERS:
                self._answers.popitem(last=False)
        return answers

    async def _report(self) -> None:
        """How far the slots are, now and then, to whoever listens."""
        while True:
            await asyncio.sleep(PROGRESS_SEC)
            if self._link.idle:  # behind what waits it would be old when it is read
                for told in self._desk.progress():
                    self._link.tell(told)


def _digest(pipeline: Pipeline, config: AppConfig) -> str:
    """Tells pipelines apart whose lines cannot be put together."""
    found = hashlib.sha256(pipeline.spec.model_dump_json().encode())
    for name in sorted(pipeline.models):
        found.update(f"{name} {pipeline.models[name].digest} {config.precision}".encode())
    return found.hexdigest()
