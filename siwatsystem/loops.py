"""Analysis loops: one per source, pipeline and crop, each at most one frame under way at a time.

A frame that arrives when the loop is due asks for a thread; the thread takes the newest frame there is
when its turn comes, and every subscription of the loop runs over it with a shared memo of the models'
answers. Who is due and who comes first is decided in `schedule`; what was due meanwhile is dropped and
counted for the subscriptions that were there.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from siwatsystem import metrics
from siwatsystem.detections import Detection
from siwatsystem.errors import PipelineFailed
from siwatsystem.frames import Crop, Frame, clip_crop
from siwatsystem.loading import Loaded
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.shared_tracking import SharedTracking
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.trace import Step, Trace
from siwatsystem.pipeline_threads import PipelineThreads
from siwatsystem.schedule import Turn
from siwatsystem.streams.pool import Source
from siwatsystem.subscriptions import Subscription
from siwatsystem.supervision import Care, Watched
from siwatsystem.tracing.tracer import FrameSpans, Taken, Tracer
from siwatsystem.views import View

log = logging.getLogger(__name__)

Deliver = Callable[["Member", Frame, "Analysis"], None]
GIVEN_UP_AFTER_SEC = 5.0
"""How much longer than a model's call a frame may take before it is given up."""
DROPS_TOLD_SEC = 1.0
"""How often drops are counted while no frame comes to its end."""


@dataclass(frozen=True)
class Analysis:
    """What a pipeline said of a frame for one subscription, boxes in full-frame pixels."""

    events: tuple[Event, ...]
    seen: tuple[Detection, ...]
    """Every box of the frame, of what is no event (yet) too."""
    offset: tuple[int, int]
    session_id: int | str | None
    steps: tuple[Step, ...] = ()
    """What each node did, and how long it took."""


@dataclass(eq=False)
class Member:
    """A subscription as it runs: its own pipeline state, and what was last seen for it."""

    subscription: Subscription
    session_of: Callable[[str], int | str | None]
    state: PipelineState = field(default_factory=PipelineState)
    seen: tuple[Detection, ...] = ()
    last: tuple[dict[str, Any], ...] = ()
    """The newest events' `detection` objects, for `/api/cameras`."""
    analysed: int = 0
    missed: int = 0
    """Frames that were due and gave way to later ones."""
    dropped: int = 0
    """Those of them that are counted in the metrics."""


class AnalysisLoop:
    """Runs `loaded` over the newest frames of `source` for its members."""

    def __init__(
        self,
        source: Source,
        loaded: Loaded,
        crop: Crop | None,
        *,
        interval_sec: float,
        threads: PipelineThreads,
        deliver: Deliver,
        on_failure: "Callable[[AnalysisLoop], None]",
        care: Care | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.source = source
        self.loaded = loaded
        self.crop = crop
        self.members: dict[str, Member] = {}
        self.failing: PipelineFailed | None = None
        """Why the newest frame could not be analysed; None once one could."""
        self.stands = False
        """Whether no frame is analysed any more, because each would hang."""
        self._deliver = deliver
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._threads = threads
        self._interval_sec = interval_sec
        self._care = care or Care()
        self._tracer = tracer
        self._dropped = 0
        """What the turn had dropped when a frame was taken last; kept while there is a tracer."""
        self._generation = 0
        """Counts the turns: what came of one that was given up is thrown away."""
        self._turn = self._join()
        self._last = 0
        """Sequence of the newest frame that was analysed."""
        self._asking: tuple[Member, ...] = ()
        """Who was there when the newest frame that was due arrived."""
        self._drops_told_at = 0.0
        self._stopped = False

    @property
    def name(self) -> str:
        """For people: the camera's label and the model's id."""
        return f"{self.loaded.key.model_id} on {self.source.spec.label}"

    def start(self) -> None:
        watched = Watched("pipeline", self.name, self._look, self._renew_soon, self._has_failed)
        self._forget = self._care.watch(watched)
        self.source.add_listener(self._frame_arrived)
        self._loop.call_soon(self.nudge)  # a source that others use has a frame already

    def stop(self) -> None:
        """End at once; a frame under way is finished and its result discarded, or given up where it hangs."""
        self._stopped = True
        self._forget()
        self.source.remove_listener(self._frame_arrived)
        self._threads.leave(self._turn)

    def leave(self, identifier: str) -> None:
        """Take a member out; messages that wait for votes of what it followed are sent."""
        member = self.members.pop(identifier, None)
        pipeline = self.loaded.pipeline
        if member is not None and pipeline is not None and self._look(time.monotonic()) is None:
            # A frame of it may be under way, and nobody on this thread may wait for that. For one that
            # hangs nobody may wait at all: it has the member's state.
            context = self._context(member, time.time())
            self._threads.do_once(self.loaded, partial(pipeline.finish, member.state, context))

    def finish(self) -> None:
        """Send what still waits for votes, when no frame is under way any more."""
        pipeline = self.loaded.pipeline
        for member in self.members.values():
            if pipeline is not None:
                pipeline.finish(member.state, self._context(member, time.time()))

    def nudge(self) -> None:
        """Something the loop may be waiting for has happened (the pipeline is ready)."""
        if self._ready() is not None:
            self._ask()

    def _join(self) -> Turn:
        work = partial(self._work, self._generation)
        return self._threads.join(self.loaded, work, self._interval_sec)

    def _look(self, now: float) -> str | None:
        """For the supervisor: its models' calls are given up sooner, so nothing will come of the frame."""
        since = self._threads.under_way_since(self._turn)
        if since is not None and now - since > self._care.stuck_sec + GIVEN_UP_AFTER_SEC:
            return f"a frame takes longer than {self._care.stuck_sec + GIVEN_UP_AFTER_SEC:g} s"
        return None

    def _renew_soon(self) -> bool:
        """From the supervisor's thread. False where too many hang, or there is nothing to give up."""
        since = self._threads.under_way_since(self._turn)
        if since is None or not self._threads.may_abandon():
            return False
        return self._tell(self._renew, since)

    def _has_failed(self, reason: str | None) -> None:
        """From the supervisor's thread: no further frame is begun, or (None) frames end again."""
        self._tell(self._stands, reason)

    def _stands(self, reason: str | None) -> None:
        self.stands = reason is not None
        if reason is not None and self.failing is None:
            self._note(PipelineFailed(f"{reason}, as did those before: none is analysed for now"))
        else:
            self._on_failure(self)

    def _renew(self, since: float) -> None:
        """Give up the frame under way `since` then, if it still is, and go on with the next one."""
        if self._stopped or self._threads.under_way_since(self._turn) != since:
            return
        self._generation += 1
        self._threads.abandon(self._turn)
        self._turn = self._join()
        shared = SharedTracking()
        for member in self.members.values():
            # What the members remember belongs to the frame under way, whose thread holds its lock.
            member.state = PipelineState(shared=shared)
        self._note(PipelineFailed("a frame was given up: its analysis did not end"))
        self.nudge()

    def _frame_arrived(self) -> None:
        # Called by the capture thread for every frame: few of them are due.
        if self._turn.frame(time.monotonic()) and self.members and self.loaded.pipeline is not None:
            self._ask()

    def _ask(self) -> None:
        """Have the newest frame analysed; from any thread."""
        members, dropped = tuple(self.members.values()), self._turn.dropped
        if not self._threads.ask(self._turn):
            return
        if self._turn.dropped > dropped:
            for member in self._asking:
                member.missed += 1
            now = time.monotonic()
            if now - self._drops_told_at > DROPS_TOLD_SEC:
                self._drops_told_at = now
                self._tell(self._count_dropped)
        self._asking = members

    def _ready(self) -> tuple[Frame, Pipeline] | None:
        """The newest frame that was not analysed yet, if the pipeline is there."""
        frame, pipeline = self.source.latest, self.loaded.pipeline
        if frame is None or pipeline is None or frame.sequence <= self._last or not self.source.online:
            return None
        return frame, pipeline

    def _work(self, generation: int) -> None:
        """In a thread whose turn it is: analyse the newest frame."""
        ready, members, turn = self._ready(), list(self.members.values()), self._turn
        if generation != self._generation:
            return
        if ready is None or not members or self._stopped:
            self._threads.rest(turn, idle=True)
            return
        frame, spans = ready[0], None
        self._last = frame.sequence
        try:
            spans = None if self._tracer is None else self._sample(self._tracer, *ready, members)
            results, error = self._analyse(*ready, members, spans)
        except Exception as unexpected:
            # A frame that no library could take costs itself, not the camera.
            results, error = [], unexpected
        self._tell(self._finish_frame, generation, frame, results, error, spans)

    def _sample(
        self, tracer: Tracer, frame: Frame, pipeline: Pipeline, members: list[Member]
    ) -> FrameSpans | None:
        """The trace of a frame that was taken now, if it is to have one."""
        before, self._dropped = self._dropped, self._turn.dropped
        if not tracer.samples():
            return None
        taken = Taken(
            captured_at=frame.captured_at,
            monotonic=frame.monotonic,
            sequence=frame.sequence,
            source=self.source.spec.label,
            subscriptions=[member.subscription.identifier for member in members],
            model=str(self.loaded.key.model_id),
            precision=pipeline.precision,
            dropped_before=max(0, self._dropped - before),
        )
        return tracer.frame(taken)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Have the event loop call; False where it has ended, and nobody wants to know."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)
            return True
        return False

    def _finish_frame(
        self,
        generation: int,
        frame: Frame,
        results: "list[tuple[Member, Analysis]]",
        error: Exception | None,
        spans: FrameSpans | None,
    ) -> None:
        if self._stopped or generation != self._generation:
            if spans is not None:
                spans.finish(error, discarded=True)
            return
        try:
            error = self._hand_out(frame, results) or error
            if spans is not None:
                spans.finish(error)
            self._note(error)
            self._count_dropped()
        finally:
            # Only now: a loop has one frame under way until all that came of it is handed out.
            self._threads.rest(self._turn)

    def _count_dropped(self) -> None:
        for member in self.members.values():
            dropped = member.missed - member.dropped
            if dropped:
                member.dropped += dropped
                metrics.FRAMES_DROPPED.labels(member.subscription.identifier).inc(dropped)

    def _hand_out(self, frame: Frame, results: "list[tuple[Member, Analysis]]") -> Exception | None:
        """Deliver to every member that is still there; what went wrong for one, if anything."""
        failure: Exception | None = None
        for member, analysis in results:
            if self.members.get(member.subscription.identifier) is not member:
                continue
            try:
                self._hand_to(member, frame, analysis)
            except Exception as error:
                # What cannot be told to one display is still told to the others.
                failure = error
        return failure

    def _hand_to(self, member: Member, frame: Frame, analysis: Analysis) -> None:
        identifier = member.subscription.identifier
        member.analysed += 1
        metrics.FRAMES_ANALYSED.labels(identifier).inc()
        metrics.FRAME_AGE.labels(identifier).observe(time.monotonic() - frame.monotonic)
        member.seen = tuple(box.shifted(*analysis.offset) for box in analysis.seen)
        member.last = tuple({"class": event.class_name, **event.attributes} for event in analysis.events)
        self._deliver(member, frame, analysis)

    def _note(self, error: Exception | None) -> None:
        """Tell when frames begin to fail, and when they can be analysed again; not every time."""
        if error is None:
            if self.failing is not None:
                self.failing = None
                self._on_failure(self)
            return
        metrics.ERRORS.labels(PipelineFailed.code).inc()
        if self.failing is None:
            log.error(
                "a frame of %s could not be analysed: %s", self.source.spec.label, error, exc_info=error
            )
            known = isinstance(error, PipelineFailed)
            text = f"frames cannot be analysed: {type(error).__name__}: {error}"
            self.failing = error if known else PipelineFailed(text)
            self._on_failure(self)

    def _analyse(
        self, frame: Frame, pipeline: Pipeline, members: list[Member], spans: FrameSpans | None
    ) -> "tuple[list[tuple[Member, Analysis]], Exception | None]":
        """In a pipeline thread: every member's pipeline run over the frame."""
        height, width = frame.shape
        if self.crop is not None and (self.crop[0] >= width or self.crop[1] >= height):
            error = PipelineFailed(f"the crop lies outside the camera's picture of {width}×{height}")
            return [], error
        view = View(frame, self.crop)
        offset = clip_crop(self.crop, width, height)[:2] if self.crop else (0, 0)
        memo = PredictionMemo()
        results: list[tuple[Member, Analysis]] = []
        failure: Exception | None = None
        for member in members:
            if self.members.get(member.subscription.identifier) is not member:
                continue  # it has left since the frame was taken
            context = self._context(member, frame.captured_at, spans)
            trace, began = Trace(), time.perf_counter()
            try:
                events = pipeline.run(view, context, memo=memo, state=member.state, trace=trace)
            except Exception as error:
                # Models and libraries fail in ways that no list of errors covers; the others go on.
                failure = error
                if spans is not None:
                    spans.analysed(context.camera_id, began, trace.steps, error)
                continue
            if spans is not None:
                spans.analysed(context.camera_id, began, trace.steps)
            inner = (box for event in events for branch in event.branches.values() for box in branch.boxes)
            seen = (*trace.seen, *inner)
            analysis = Analysis(tuple(events), seen, offset, context.session_id, tuple(trace.steps))
            results.append((member, analysis))
        return results, failure

    def _context(self, member: Member, captured_at: float, spans: FrameSpans | None = None) -> EventContext:
        subscription = member.subscription
        return EventContext(
            camera_id=subscription.identifier,
            display_id=subscription.display_id,
            session_id=member.session_of(subscription.display_id),
            captured_at=captured_at,
            spans=spans,
        )
