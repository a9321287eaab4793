"""Analysis loops: one per source, pipeline and crop, each at most one frame in the pool at a time.

A loop takes the newest frame when it is due and hands it to the thread pool, where every
subscription of the loop runs over it with a shared memo of the models' answers. Because a loop
never has more than one frame under way and the pool serves first come, first served, every loop
gets its fair share of an overloaded machine; what was due meanwhile is dropped and counted.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from siwatsystem import metrics
from siwatsystem.detections import Detection
from siwatsystem.errors import PipelineFailed
from siwatsystem.frames import Crop, Frame, clip_crop
from siwatsystem.loading import Loaded
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.trace import Trace
from siwatsystem.streams.pool import Source
from siwatsystem.subscriptions import Subscription

log = logging.getLogger(__name__)

Deliver = Callable[["Member", Frame, "Analysis"], None]


@dataclass(frozen=True)
class Analysis:
    """What a pipeline said of a frame for one subscription, boxes in full-frame pixels."""

    events: tuple[Event, ...]
    seen: tuple[Detection, ...]
    """Every box of the frame, of what is no event (yet) too."""
    offset: tuple[int, int]
    session_id: int | str | None


@dataclass(eq=False)
class Member:
    """A subscription as it runs: its own pipeline state, and what was last seen for it."""

    subscription: Subscription
    session_of: Callable[[str], int | str | None]
    state: PipelineState = field(default_factory=PipelineState)
    seen: tuple[Detection, ...] = ()
    last: tuple[dict[str, Any], ...] = ()
    """The newest events' `detection` objects, for the dashboard."""
    analysed: int = 0
    dropped: int = 0


class AnalysisLoop:
    """Runs `loaded` over the newest frames of `source` for its members."""

    def __init__(
        self,
        source: Source,
        loaded: Loaded,
        crop: Crop | None,
        *,
        interval_sec: float,
        threads: ThreadPoolExecutor,
        deliver: Deliver,
        on_failure: "Callable[[AnalysisLoop], None]",
    ) -> None:
        self.source = source
        self.loaded = loaded
        self.crop = crop
        self.members: dict[str, Member] = {}
        self.failing: PipelineFailed | None = None
        """Why the newest frame could not be analysed; None once one could."""
        self._interval = interval_sec
        self._threads = threads
        self._deliver = deliver
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._waiting = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.source.add_listener(self._frame_arrived)
        self._task = asyncio.create_task(self._run(), name=f"analyse-{self.source.spec.label}")

    def stop(self) -> None:
        """End at once; a frame in the pool is finished and its result discarded."""
        self.source.remove_listener(self._frame_arrived)
        if self._task is not None:
            self._task.cancel()

    def leave(self, identifier: str) -> None:
        """Take a member out; messages that wait for votes of what it followed are sent."""
        member = self.members.pop(identifier, None)
        pipeline = self.loaded.pipeline
        if member is not None and pipeline is not None:
            # A frame of it may be under way, and nobody on this thread may wait for that.
            self._threads.submit(pipeline.finish, member.state, self._context(member, time.time()))

    def finish(self) -> None:
        """Send what still waits for votes, when no frame is under way any more."""
        pipeline = self.loaded.pipeline
        for member in self.members.values():
            if pipeline is not None:
                pipeline.finish(member.state, self._context(member, time.time()))

    def nudge(self) -> None:
        """Something the loop may be waiting for has happened (the pipeline is ready)."""
        self._wake.set()

    def _frame_arrived(self) -> None:
        # Called by the capture thread for every frame; only a loop that waits is woken.
        if self._waiting:
            self._waiting = False
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        due = self._loop.time()
        last = 0
        while True:
            frame, pipeline = await self._next(last)
            began = self._loop.time()
            members = list(self.members.values())
            try:
                frame, results, error = await self._loop.run_in_executor(
                    self._threads, self._analyse, frame, pipeline, members
                )
                error = self._hand_out(frame, results) or error
            except Exception as unexpected:
                # A frame that no library could take costs itself, not the camera.
                error = unexpected
            last = frame.sequence
            self._note(error)
            due = await self._until_due(due, began, members)

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

    async def _until_due(self, due: float, began: float, members: list[Member]) -> float:
        now = self._loop.time()
        # What came due while a frame was being analysed: a camera that sends nothing drops nothing.
        missed = int((now - began) / self._interval)
        for member in members:
            if missed and self.members.get(member.subscription.identifier) is member:
                member.dropped += missed
                metrics.FRAMES_DROPPED.labels(member.subscription.identifier).inc(missed)
        due = max(due + self._interval, now)
        await asyncio.sleep(due - now)
        return due

    async def _next(self, last: int) -> tuple[Frame, Pipeline]:
        """The newest frame that was not analysed yet, once the pipeline is there."""
        while True:
            self._wake.clear()
            self._waiting = True
            frame, pipeline = self.source.latest, self.loaded.pipeline
            if frame is not None and frame.sequence > last and pipeline is not None and self.source.online:
                self._waiting = False
                return frame, pipeline
            await self._wake.wait()

    def _analyse(
        self, frame: Frame, pipeline: Pipeline, members: list[Member]
    ) -> "tuple[Frame, list[tuple[Member, Analysis]], Exception | None]":
        """In a pool thread: every member's pipeline run over the newest frame there is now."""
        newest = self.source.latest
        if newest is not None and newest.sequence > frame.sequence:
            frame = newest  # the pool was busy, and time has gone by
        height, width = frame.image.shape[:2]
        if self.crop is not None and (self.crop[0] >= width or self.crop[1] >= height):
            error = PipelineFailed(f"the crop lies outside the camera's picture of {width}×{height}")
            return frame, [], error
        picture = frame.cropped(self.crop)
        offset = clip_crop(self.crop, width, height)[:2] if self.crop else (0, 0)
        memo = PredictionMemo()
        results: list[tuple[Member, Analysis]] = []
        failure: Exception | None = None
        for member in members:
            if self.members.get(member.subscription.identifier) is not member:
                continue  # it has left while the frame waited for a thread
            context = self._context(member, frame.captured_at)
            trace = Trace()
            try:
                events = pipeline.run(picture, context, memo=memo, state=member.state, trace=trace)
            except Exception as error:
                # Models and libraries fail in ways that no list of errors covers; the others go on.
                failure = error
                continue
            inner = (box for event in events for branch in event.branches.values() for box in branch.boxes)
            seen = (*trace.seen, *inner)
            results.append((member, Analysis(tuple(events), seen, offset, context.session_id)))
        metrics.FRAME_AGE.observe(time.monotonic() - frame.monotonic)
        return frame, results, failure

    def _context(self, member: Member, captured_at: float) -> EventContext:
        subscription = member.subscription
        return EventContext(
            camera_id=subscription.identifier,
            display_id=subscription.display_id,
            session_id=member.session_of(subscription.display_id),
            captured_at=captured_at,
        )
