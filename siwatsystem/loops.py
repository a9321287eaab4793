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
from siwatsystem.frames import Crop, Frame, clip_crop
from siwatsystem.loading import Loaded
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.streams.pool import Source
from siwatsystem.subscriptions import Subscription

log = logging.getLogger(__name__)

Deliver = Callable[["Member", Frame, "Analysis"], None]


@dataclass(frozen=True)
class Analysis:
    """What a pipeline said of a frame for one subscription, boxes in full-frame pixels."""

    events: tuple[Event, ...]
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
    ) -> None:
        self.source = source
        self.loaded = loaded
        self.crop = crop
        self.members: dict[str, Member] = {}
        self.failing: str | None = None
        self._interval = interval_sec
        self._threads = threads
        self._deliver = deliver
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
            last = frame.sequence
            members = list(self.members.values())
            try:
                results = await self._loop.run_in_executor(
                    self._threads, self._analyse, frame, pipeline, members
                )
            except Exception:
                # A frame that no library could take costs itself, not the camera.
                log.exception("a frame of %s could not be analysed", self.source.spec.label)
                results = []
            for member, analysis in results:
                if self.members.get(member.subscription.identifier) is member:
                    self._deliver(member, frame, analysis)
            due = await self._until_due(due, members)

    async def _until_due(self, due: float, members: list[Member]) -> float:
        due += self._interval
        late = self._loop.time() - due
        if late >= self._interval:
            missed = int(late / self._interval)
            due += missed * self._interval
            for member in members:
                member.dropped += missed
                metrics.FRAMES_DROPPED.labels(member.subscription.identifier).inc(missed)
        await asyncio.sleep(max(0.0, due - self._loop.time()))
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
    ) -> list[tuple[Member, Analysis]]:
        """In a pool thread: every member's pipeline run over the frame."""
        picture = frame.cropped(self.crop)
        height, width = frame.image.shape[:2]
        offset = clip_crop(self.crop, width, height)[:2] if self.crop else (0, 0)
        memo = PredictionMemo()
        results: list[tuple[Member, Analysis]] = []
        for member in members:
            subscription = member.subscription
            session_id = member.session_of(subscription.display_id)
            context = EventContext(
                camera_id=subscription.identifier,
                display_id=subscription.display_id,
                session_id=session_id,
                captured_at=frame.captured_at,
            )
            events = pipeline.run(picture, context, memo=memo, state=member.state)
            member.analysed += 1
            member.seen = tuple(box.shifted(*offset) for event in events for box in event.boxes)
            member.last = tuple({"class": event.class_name, **event.attributes} for event in events)
            metrics.FRAMES_ANALYSED.labels(subscription.identifier).inc()
            results.append((member, Analysis(tuple(events), offset, session_id)))
        metrics.FRAME_AGE.observe(time.monotonic() - frame.monotonic)
        return results
