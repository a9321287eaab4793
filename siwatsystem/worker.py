"""The worker: applies what backends ask to sources, pipelines and loops, and sends what was seen.

Concurrency: everything in this module runs on the event loop's thread. Sources have a thread each
and pipelines a pool; both come back here through `call_soon_threadsafe` or an awaited future.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from siwatsystem import metrics
from siwatsystem.actions.base import Problem
from siwatsystem.config import Settings
from siwatsystem.connections import Connection, Connections, error_message
from siwatsystem.cores import usable_cores
from siwatsystem.delivery import QueuedDetection
from siwatsystem.displays import Displays
from siwatsystem.endings import ended_within
from siwatsystem.engine import Engine
from siwatsystem.errors import Overloaded, SiwatError
from siwatsystem.frames import Crop, Frame
from siwatsystem.loading import Loaded, PipelineKey, PipelineLoader
from siwatsystem.loops import GIVEN_UP_AFTER_SEC, Analysis, AnalysisLoop, Member
from siwatsystem.messages import (
    PatchSessionIn,
    PatchSessionResult,
    RequestState,
    SetSessionId,
    Subscribe,
    Unsubscribe,
)
from siwatsystem.notices import Notices
from siwatsystem.pipeline.shared_tracking import SharedTracking
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline_threads import PipelineThreads
from siwatsystem.reports import StateReports, image_detection
from siwatsystem.session import Answer, Apply, Close
from siwatsystem.streams.pool import Source, SourcePool
from siwatsystem.subscriptions import Changes, Subscription, Subscriptions
from siwatsystem.supervision import Care, Failure, Supervisor
from siwatsystem.usage import Usage, UsageReader

log = logging.getLogger(__name__)

LoopKey = tuple[object, PipelineKey, Crop | None]
REPORT_DELAY_SEC = 0.02
"""Changes of a burst are gathered for this long, so that a thousand subscribes cause few reports."""
SLACK_SEC = 1.0
"""How much longer closing may take than it was told, before it is left behind."""
EMBEDDED_SEC = 10.0
"""How long the embedded servers may take to end after all else."""


class Worker:
    """One worker. `start` and `stop` are called once each, on the same event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.subscriptions = Subscriptions(settings.max_streams, settings.disconnect_grace_sec)
        self.displays = Displays()
        self.connections = Connections(settings, self.subscriptions.connection_for_display)
        self.supervisor = Supervisor(settings.supervision, self._on_failure)
        self._care = Care(self.supervisor.watch, settings.supervision.model_stuck_sec)
        self.engine = Engine(settings, self._on_problem, self._care)
        self._reader = UsageReader(settings.websocket.state_interval_sec, self.supervisor.watch)
        self.started_at = time.time()
        self.onlooker: Callable[[Member, Frame, Analysis], None] | None = None
        """Told what was seen on each frame, while somebody looks at the dashboard; quick, never raises."""
        self._loops: dict[LoopKey, AnalysisLoop] = {}
        self._of: dict[str, LoopKey] = {}
        self._reports = StateReports()
        self._notices = Notices(self.connections, self.subscriptions)
        self._dirty: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        # One more than may be subscribed: a replaced camera is opened before the old one is closed.
        room = self.settings.model_copy(update={"max_streams": self.settings.max_streams + 1})
        watch = self.supervisor.watch
        self.pool = SourcePool(room, self._on_source_change, watch=watch)
        self.loader = PipelineLoader(self.engine, self.settings, self._on_pipeline_change, watch)
        count = self.settings.pipeline.threads or max(4, usable_cores() + 1)
        self.threads = PipelineThreads(count, self._care.stuck_sec + GIVEN_UP_AFTER_SEC)
        await asyncio.to_thread(self.engine.start)
        self._reader.start()
        self.supervisor.start()
        self._tasks = [asyncio.create_task(self._tick(), name="tick")]

    async def stop(self) -> None:
        """End everything within `shutdown_timeout_sec`; what was accepted stays in the outbox."""
        self.supervisor.close()
        self._reader.close()
        for task in self._tasks:
            task.cancel()
        loops = list(self._loops.values())
        for loop in loops:
            loop.stop()
        self._loops.clear()
        deadline = self.settings.shutdown_timeout_sec
        drained, _ = await asyncio.gather(
            self.threads.closed_within(deadline / 3),
            ended_within(partial(self.pool.close, deadline / 3), deadline / 3 + SLACK_SEC, "close-cameras"),
        )
        if drained:
            for loop in loops:
                loop.finish()
        await self.loader.close()
        limit = deadline / 3 + EMBEDDED_SEC + SLACK_SEC
        await ended_within(partial(self.engine.close, deadline / 3), limit, "close-engine")

    # --- what the WebSocket route calls ----------------------------------------------------------

    def connect(self) -> Connection:
        connection = self.connections.open()
        self._report_now(connection)
        return connection

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """One message of a client. What it says is answered, never raised."""
        for effect in connection.conversation.receive(text, time.monotonic()):
            match effect:
                case Apply(command=command):
                    self._apply(connection, command)
                case Answer(message=message):
                    self.connections.reply(connection, message)
                case Close():
                    connection.close = effect
                    connection.wake.set()

    def disconnect(self, connection: Connection) -> None:
        changes = self.subscriptions.disconnect(connection.id, time.monotonic())
        self.connections.closed(connection)
        self._change(changes)

    def end_warm(self, identifier: str) -> bool:
        """End a subscription that is only kept warm, for no connection. Returns whether it was one."""
        changes = self.subscriptions.end_warm(identifier)
        self._change(changes)
        return bool(changes.ended)

    # --- commands --------------------------------------------------------------------------------

    def _apply(self, connection: Connection, command: object) -> None:
        identifier: str | None = None
        legacy = False
        try:
            match command:
                case Subscribe(payload=payload):
                    identifier, legacy = payload.subscription_identifier, payload.legacy
                    self._subscribe(connection, Subscription.from_payload(payload))
                case Unsubscribe(payload=payload):
                    identifier, legacy = payload.subscription_identifier, payload.legacy
                    self._change(self.subscriptions.unsubscribe(connection.id, identifier))
                    self.connections.forget(connection, identifier)
                case RequestState():
                    self._dirty_report(connection.id)
                case SetSessionId(payload=payload):
                    self.displays.set_session(payload.display_identifier, payload.session_id)
                case PatchSessionIn():
                    self._patch(connection, command)
                case PatchSessionResult(payload=payload):
                    self._patch_answered(connection, command)
                case _:
                    raise TypeError(f"no such command: {command!r}")
        except Exception as unexpected:
            # What a message says never ends a connection, whatever it makes us do.
            error = unexpected
            if not isinstance(error, SiwatError):
                log.exception("a command failed")
                error = SiwatError(f"the command failed: {type(unexpected).__name__}")
            refusal = error_message(error.code, error.message, identifier=identifier, legacy=legacy)
            self.connections.reply(connection, refusal)

    def _subscribe(self, connection: Connection, subscription: Subscription) -> None:
        identifier = subscription.identifier
        before = self.connections.get(self.subscriptions.holder(identifier))
        changes = self.subscriptions.subscribe(connection.id, subscription)
        if before is not None and before is not connection:
            self.connections.hand_over(before, identifier)
        self.connections.forget_told(connection, identifier)
        try:
            self._change(changes)
        except (RuntimeError, OSError) as error:
            # No thread or descriptor is to be had: what cannot run is not subscribed.
            self._change(self.subscriptions.unsubscribe(connection.id, identifier))
            raise Overloaded(f"the camera could not be opened: {error}") from error
        key = self._of.get(identifier)
        if key is not None:
            loop = self._loops[key]
            loop.loaded.asked_as(PipelineKey.of(subscription.model_id, subscription.model_url))
            self.loader.retry(loop.loaded)
            loop.source.retry()
            self._notices.of_loop(connection, identifier, loop)
        self._dirty_report(connection.id)
        self.connections.flush_soon()

    def _patch(self, connection: Connection, command: PatchSessionIn) -> None:
        success, message = True, "merged"
        try:
            self.displays.patch(command.session_id, dict(command.data))
        except SiwatError as error:
            success, message = False, error.message
        payload = {"sessionId": command.session_id, "success": success, "message": message}
        self.connections.reply(connection, PatchSessionResult.model_validate({"payload": payload}))

    def _patch_answered(self, connection: Connection, command: PatchSessionResult) -> None:
        answer = command.payload
        known = self.connections.answered(connection, answer.session_id, answer.success)
        if not known:
            log.info("an answer to no patch of ours: session %s", answer.session_id)
        elif not answer.success:
            log.warning("the backend refused a patch of session %s: %s", answer.session_id, answer.message)

    # --- what runs -------------------------------------------------------------------------------

    def _change(self, changes: Changes) -> None:
        for subscription in changes.ended:
            self._end(subscription)
        for old, new in changes.changed:
            self._replace(old, new)
        for subscription in changes.begun:
            self._begin(subscription)
        for number in changes.connections:
            self._dirty_report(number)

    def _begin(self, subscription: Subscription) -> None:
        key = _loop_key(subscription)
        loop = self._loops.get(key) or self._start_loop(key, subscription)
        # Who looks at the same film follows it together, as far as both have seen the same of it.
        others = (member.state.shared for member in loop.members.values())
        state = PipelineState(shared=next(others, None) or SharedTracking())
        loop.members[subscription.identifier] = Member(subscription, self.displays.session_of, state)
        self._of[subscription.identifier] = key

    def _end(self, subscription: Subscription) -> None:
        self._reports.forget(subscription.identifier)
        key = self._of.pop(subscription.identifier, None)
        if key is not None:
            self._leave(key, subscription.identifier)
        for series in metrics.OF_SUBSCRIPTIONS:
            with contextlib.suppress(KeyError):
                series.remove(subscription.identifier)

    def _leave(self, key: LoopKey, identifier: str) -> None:
        """Take a subscription out of its loop, which ends with its last one."""
        loop = self._loops[key]
        loop.leave(identifier)
        if not loop.members:
            del self._loops[key]
            loop.stop()
            self.loader.release(loop.loaded)
            self.pool.release(loop.source)

    def _replace(self, old: Subscription, new: Subscription) -> None:
        """Begin before ending, so that a source or pipeline both use is not restarted."""
        previous = self._of.get(old.identifier)
        if previous is not None and previous == _loop_key(new):
            self._loops[previous].members[new.identifier].subscription = new
            return
        holder = self.connections.get(self.subscriptions.holder(new.identifier))
        if holder is not None:
            self.connections.hand_over(holder, old.identifier)
        self._begin(new)
        if previous is not None:
            self._leave(previous, old.identifier)

    def _start_loop(self, key: LoopKey, subscription: Subscription) -> AnalysisLoop:
        source = self.pool.acquire(subscription.source)
        loaded = self.loader.acquire(PipelineKey.of(subscription.model_id, subscription.model_url))
        loop = self._loops[key] = AnalysisLoop(
            source,
            loaded,
            subscription.crop,
            interval_sec=self.settings.analysis_interval_sec,
            threads=self.threads,
            deliver=self._deliver,
            on_failure=self._changed,
            care=self._care,
            tracer=self.engine.tracer,
        )
        loop.start()
        return loop

    # --- what was seen ---------------------------------------------------------------------------

    def _deliver(self, member: Member, frame: Frame, analysis: Analysis) -> None:
        subscription = member.subscription
        if self.onlooker is not None:
            self.onlooker(member, frame, analysis)
        holder = self.subscriptions.holder(subscription.identifier)
        for event in analysis.events:
            message = image_detection(
                subscription, event, analysis.offset, frame.captured_at, analysis.session_id
            )
            item = QueuedDetection(
                message=message,
                display_id=subscription.display_id,
                session_id=analysis.session_id,
                attributes=event.attributes,
                captured_at=frame.captured_at,
            )
            self.connections.detection(holder, item)

    # --- what is told ----------------------------------------------------------------------------

    def _on_source_change(self, source: Source) -> None:
        """From a capture or watchdog thread."""
        self._tell(self._changed, source)

    def _on_pipeline_change(self, loaded: Loaded) -> None:
        self._changed(loaded)

    def _on_problem(self, problem: Problem) -> None:
        """From an outbox thread."""
        self._tell(self._notices.problem, problem)

    def _on_failure(self, failure: Failure) -> None:
        """From the supervisor's thread."""
        self._tell(self._failed, failure)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended, and nobody wants to know
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _failed(self, failure: Failure) -> None:
        self._notices.failure(failure)
        for connection in self.connections.all():
            self._dirty_report(connection.id)

    def _changed(self, what: Source | Loaded | AnalysisLoop) -> None:
        for loop in self._loops.values():
            if what not in (loop, loop.source, loop.loaded):
                continue
            loop.nudge()
            for identifier in loop.members:
                connection = self.connections.get(self.subscriptions.holder(identifier))
                if connection is not None:
                    self._notices.of_loop(connection, identifier, loop)
                    self._dirty_report(connection.id)

    # --- reports ---------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """The newest reading."""
        return self._reader.usage

    def online(self, identifier: str) -> bool:
        """Whether fresh frames arrive, and the pipeline is loaded and takes them."""
        loop = self.loop_of(identifier)
        return bool(loop and loop.source.online and loop.loaded.pipeline is not None and not loop.stands)

    def loop_of(self, identifier: str) -> AnalysisLoop | None:
        """What runs for a subscription."""
        key = self._of.get(identifier)
        return None if key is None else self._loops.get(key)

    def loops(self) -> list[AnalysisLoop]:
        return list(self._loops.values())

    def _report_now(self, connection: Connection) -> None:
        cameras = [
            (subscription, self.online(subscription.identifier))
            for subscription in self.subscriptions.of(connection.id)
        ]
        failed = [f"{one.kind} {one.name}" for one in self.supervisor.failures()]
        self.connections.report(connection, self._reports.report(self.usage, cameras, failed))

    def _dirty_report(self, number: int) -> None:
        if not self._dirty:
            self._loop.call_later(REPORT_DELAY_SEC, self._report_dirty)
        self._dirty.add(number)

    def _report_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for number in dirty:
            connection = self.connections.get(number)
            if connection is not None:
                self._report_now(connection)

    async def _tick(self) -> None:
        """Every two seconds: the regular reports, the ends of grace, the patches that wait."""
        while True:
            await asyncio.sleep(self.settings.websocket.state_interval_sec)
            steps: list[Callable[[], None]] = [self._expire, self.connections.expire]
            steps += [partial(self._report_now, connection) for connection in self.connections.all()]
            for step in steps:
                try:
                    step()
                except Exception:
                    # One report that fails must not cost the others theirs.
                    log.exception("a regular step failed")

    def _expire(self) -> None:
        self._change(self.subscriptions.expire(time.monotonic()))


def _loop_key(subscription: Subscription) -> LoopKey:
    key = PipelineKey.of(subscription.model_id, subscription.model_url)
    return subscription.source, key, subscription.crop
