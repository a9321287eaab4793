"""One frame through the tree of nodes, in the order of `pympta.md`.

`run` is called from the pool's threads, several at a time for different cameras: a Pipeline holds
no state of a run, what a subscription remembers is in the `PipelineState` that is passed.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from siwatsystem import metrics
from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.detections import Classification, Detection, Prediction
from siwatsystem.frames import Image
from siwatsystem.model_registry import SharedModel
from siwatsystem.pipeline.acting import Actor
from siwatsystem.pipeline.branches import BranchRunner, due
from siwatsystem.pipeline.crops import Box, crop_box, crop_of, looks_of
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.following import Seen, untracked
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.reading import expected, of_its_classes
from siwatsystem.pipeline.regions import Regions, best_per_class, by_object, doubtful, same_name
from siwatsystem.pipeline.spec import Node, PipelineSpec
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.steps import all_expected, not_ready, records, with_remembered
from siwatsystem.pipeline.subjects import Owner, Subject
from siwatsystem.pipeline.trace import Step, Trace
from siwatsystem.pipeline.trackers import Features
from siwatsystem.runtime.backend import Precision
from siwatsystem.views import View

log = logging.getLogger(__name__)

FINISH_SEC = 10.0
"""Longest wait for a picture under way before what waits for votes is given up."""


class Sink(Protocol):
    """Where an event's jobs go; never blocks."""

    def submit(self, event: OutboxEvent) -> bool | None: ...


class Encoder(Protocol):
    """Says how pictures look, as rows of unit length."""

    def embed(self, images: Sequence[Image]) -> Features: ...


@dataclass(frozen=True, slots=True)
class _Run:
    """One picture on its way through the nodes."""

    view: View
    context: EventContext
    memo: PredictionMemo
    state: PipelineState
    trace: Trace | None
    submitted: list[str] | None

    @property
    def size(self) -> tuple[int, int]:
        return self.view.shape[1], self.view.shape[0]

    def tell(self, step: Step) -> None:
        if self.trace is not None:
            self.trace.steps.append(step)


class Pipeline:
    """A spec with its models, ready to run on pictures."""

    def __init__(
        self,
        spec: PipelineSpec,
        models: Mapping[str, SharedModel],
        sink: Sink,
        targets: Mapping[str, str],
        threads: Executor,
        on_picture: Callable[[View, list[Event]], None] | None = None,
        encoders: Mapping[str, Encoder] | None = None,
    ) -> None:
        """`encoders`: what tells a node's objects apart by their looks, by `modelId`."""
        self.spec = spec
        self.models = models
        self.encoders: Mapping[str, Encoder] = encoders or {}
        self.precision: Precision = "exact"
        self.precision_reason = "no picture was compared yet"
        self._sink = sink
        self._targets = targets
        self._threads = threads
        self.on_picture = on_picture
        self._is_branch = False
        self._records = records(spec) and "postgresql" in targets
        self._runs = 0
        self._idle = threading.Condition()
        self._once_idle: list[Callable[[], None]] = []

    def rooted_at(self, node: Node) -> "Pipeline":
        """The part of this pipeline from `node` down, on the same models and servers.

        A branch keeps of its own model what it keeps as a branch, of the whole picture: its
        `triggerClasses` are its parent's classes.
        """
        spec = self.spec.model_copy(update={"pipeline": node})
        part = Pipeline(spec, self.models, self._sink, self._targets, self._threads, encoders=self.encoders)
        part._is_branch = self._is_branch or node.model_id != self.spec.pipeline.model_id
        return part

    def run(
        self,
        image: Image | View,
        context: EventContext,
        memo: PredictionMemo | None = None,
        state: PipelineState | None = None,
        submitted: list[str] | None = None,
        trace: Trace | None = None,
    ) -> list[Event]:
        """The events of a picture (H×W×3 BGR, or a view of a frame), most confident first; their actions go
        to the outbox.

        `state` is what is remembered from picture to picture (whose `captured_at` rises); without it
        a picture stands alone. `submitted` collects the ids of the outbox events, `trace` what each
        node did. Raises what a root model raises.
        """
        view = View.of(image)
        with self._idle:
            self._runs += 1
        run = _Run(view, context, memo or PredictionMemo(), state or PipelineState(), trace, submitted)
        try:
            with run.state.lock:
                return [] if run.state.finished else self._run(run)
        finally:
            self._one_less()

    def finish(self, state: PipelineState, context: EventContext, submitted: list[str] | None = None) -> None:
        """No more pictures come for `state`: send what waited for objects that are now gone."""
        if not state.lock.acquire(timeout=FINISH_SEC):
            log.warning("%s: what waits for votes is lost, a picture is stuck", context.camera_id)
            return
        try:
            state.finished = True
            for follower in state.followers:
                for subject in follower.finish():
                    self._send_waiting(subject, context, submitted)
        finally:
            state.lock.release()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no picture is under way; False if that takes longer than `timeout` seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._runs == 0, timeout)

    def once_idle(self, then: Callable[[], None]) -> None:
        """Call `then` when no picture is under way: now, or on the thread of the last one as it ends."""
        with self._idle:
            if self._runs:
                self._once_idle.append(then)
                return
        then()

    def _one_less(self) -> None:
        """A picture has ended."""
        with self._idle:
            self._runs -= 1
            self._idle.notify_all()
            ended = [] if self._runs else self._once_idle
            if ended:
                self._once_idle = []
        for then in ended:
            then()

    def _run(self, run: _Run) -> list[Event]:
        root = self.spec.pipeline
        began = time.perf_counter()
        said = self._predict(root, run.view, None, run.memo)
        run.state.frames += 1
        seconds = time.perf_counter() - began
        metrics.NODE_TIMES.observe(root.model_id, seconds)
        seen = self._seen(root, said, run)
        if run.trace is not None:
            run.trace.seen = seen.boxes
        found = ", ".join(f"{box.class_name} {box.confidence:.2f}" for box in seen.boxes) or "nothing"
        run.tell(Step(root.model_id, "ran", "on the picture", found, seconds, began))
        for box in seen.boxes:
            why = seen.why_not(box)
            if why is not None:
                run.tell(Step(root.model_id, "skipped", f"{box.class_name} {box.confidence:.2f}: {why}"))
        events: list[Event] = []
        groups = self._groups(root, seen)
        if len(groups) > 1:
            self._ask_ahead(root, groups, seen, run)
        for main, regions in groups:
            event = self._event(root, main, regions, seen, run)
            if event is not None:
                events.append(event)
        for follower in run.state.followers:
            for subject in follower.ended(run.state.frames, run.context.captured_at):
                self._send_waiting(subject, run.context, run.submitted)
        if self.on_picture is not None:
            self.on_picture(run.view, events)
        return sorted(events, key=lambda event: -event.confidence)

    def _seen(self, root: Node, said: Prediction, run: _Run) -> Seen:
        """Step 1: the root's boxes, with the ids of their tracks where it tracks."""
        if isinstance(said, Classification):
            # A root that classifies has the whole picture as its one region.
            width, height = run.size
            whole = Detection(said.class_name, said.confidence, (0.0, 0.0, float(width), float(height)))
            if self._is_branch:
                sure = said.confidence >= (root.min_result_confidence or 0.0)
                return untracked((whole,) if sure else ())
            said = (whole,)
            follower = None
        else:
            follower = run.state.follower(root)
        boxes = tuple(
            box
            for box in of_its_classes(root, said, self.models[root.model_id].names)
            if self._is_branch or any(same_name(name, box.class_name) for name in root.trigger_classes)
        )
        if follower is None:
            return untracked(tuple(box for box in boxes if box.confidence >= root.min_confidence))
        parts: tuple[Detection, ...] = ()
        if root.object_class is not None:
            # Only objects are followed; what they are made of comes and goes with them.
            objects = tuple(box for box in boxes if same_name(box.class_name, root.object_class))
            parts = tuple(
                box for box in boxes if box not in objects and box.confidence >= root.min_confidence
            )
            boxes = objects
        seen = self._follow(root, boxes, run)
        return replace(seen, boxes=(*seen.boxes, *parts))

    def _follow(self, node: Node, boxes: Sequence[Detection], run: _Run) -> Seen:
        follower = run.state.follower(node)
        assert follower is not None
        encoder = self.encoders.get(node.model_id)
        encode = None if encoder is None else partial(_looks, run, encoder)
        at = run.context.captured_at
        return follower.follow(boxes, run.size, run.state.frames, at, node.min_confidence, encode)

    def _groups(self, root: Node, seen: Seen) -> list[tuple[Detection, Regions]]:
        """What each event is about, and its regions."""
        if root.object_class is not None:
            groups = by_object(seen.boxes, root.object_class)
            return [(thing, regions) for thing, regions in groups if seen.ready(thing)]
        regions = best_per_class(seen.of_interest)
        ready = [box for box in regions.values() if seen.ready(box)]
        return [(max(ready, key=lambda box: box.confidence), regions)] if ready else []

    def _ask_ahead(
        self, root: Node, groups: Sequence[tuple[Detection, Regions]], seen: Seen, run: _Run
    ) -> None:
        """Ask at once what several events are about to ask of a model that takes pictures together: one
        event after the other, each would wait for a batch of its own. The memo keeps the answers."""
        asked = [
            (branch, box)
            for main, regions in groups
            if _missing(root, main, regions, seen) is None
            for branch in root.branches
            if branch.crop and self.models[branch.model_id].batch_size > 1
            if (region := due(branch, regions, _owner(root, main, seen))) is not None
            if (box := crop_box(region, run.view.shape)) is not None
        ]
        count = Counter(branch.model_id for branch, _ in asked)
        for branch, box in asked:
            if count[branch.model_id] > 1:
                self._threads.submit(self._predict, branch, run.view, box, run.memo)

    def _event(self, root: Node, main: Detection, regions: Regions, seen: Seen, run: _Run) -> Event | None:
        missing = _missing(root, main, regions, seen)
        if missing is not None:
            run.tell(Step(root.model_id, "skipped", f"{main.class_name} {main.confidence:.2f}: {missing}"))
            return None
        subject, owner = seen.subject_of(main), _owner(root, main, seen)
        session_id = self._session(root, regions, subject, run.context.session_id)
        actor = Actor(run.view, main, run.context, session_id, self._targets, owner)
        jobs = actor.initial_record() if self._records and all_expected(root, regions) else []
        jobs += actor.root_actions(root, regions)
        outcome = BranchRunner(
            run.view.shape,
            lambda node, box: self._predict(node, run.view, box, run.memo),
            actor,
            self.models,
            self._threads,
            lambda node, boxes: self._follow(node, boxes, run),
            run.context.captured_at,
            () if root.object_class is None else doubtful(main, regions, seen.boxes),
            run.trace,
        ).run(root.branches, regions, owner)
        jobs += outcome.jobs
        results = outcome.results if subject is None else with_remembered(root, outcome.results, subject)
        jobs += actor.parallel_actions(root, results, regions, owner)
        lane = session_id if subject is None else subject.lane_of(session_id)
        self._submit(jobs, lane, run.context, run.submitted)
        return Event(main, regions, results, session_id)

    def _session(
        self, root: Node, regions: Regions, subject: Subject | None, of_display: int | str | None
    ) -> int | str | None:
        """The display's session where it has one; else that of the object, or of the event, if it is
        recorded."""
        if subject is not None and self._records:
            return subject.session(of_display)
        if of_display is None and self._records and all_expected(root, regions):
            return str(uuid.uuid4())
        return of_display

    def _submit(
        self,
        jobs: Sequence[Job],
        lane: int | str | None,
        context: EventContext,
        submitted: list[str] | None,
    ) -> None:
        if not jobs:
            return
        lane = None if lane is None else str(lane)
        span = None if context.spans is None else context.spans.event(len(jobs))
        event = OutboxEvent(tuple(jobs), lane=lane, subscription=context.camera_id, span=span)
        self._sink.submit(event)
        if submitted is not None:
            submitted.append(event.event_id)

    def _send_waiting(self, subject: Subject, context: EventContext, submitted: list[str] | None) -> None:
        """Messages that waited for votes which will not settle any more."""
        jobs = list(subject.waiting.values())
        subject.waiting.clear()
        self._submit(jobs, subject.lane, context, submitted)

    def _predict(self, node: Node, view: View, box: Box | None, memo: PredictionMemo) -> Prediction:
        """A node's model over the picture or a part of it, stretched to its `resizeTarget`."""
        model, precision = self.models[node.model_id], self.precision
        least = node.min_confidence
        if node.tracking is not None and node.tracked:
            # Boxes that are too unsure to be told may still continue a track.
            least = min(least, node.tracking.config.track_low_thresh)
        key = (id(model), precision, box, node.resize_target, least)

        def make() -> Prediction:
            return model.predict(crop_of(view, box, node), least, precision)

        return memo.get(key, make)


def _owner(root: Node, main: Detection, seen: Seen) -> Owner | None:
    """On whose behalf an event acts; None where nothing is followed."""
    subject = seen.subject_of(main)
    return None if subject is None else Owner(subject, root.tracking is not None and root.tracking.acts_once)


def _missing(root: Node, main: Detection, regions: Regions, seen: Seen) -> str | None:
    """Why there is no event of `main`; None where there is one."""
    if not expected(root, regions):
        return f"none of {', '.join(root.expected_classes)} is there"
    subject = seen.subject_of(main)
    return not_ready(root, regions, {} if subject is None else with_remembered(root, {}, subject))


def _looks(run: _Run, encoder: Encoder, boxes: Sequence[Detection]) -> Features:
    """How boxes look, once however many subscriptions of the frame ask."""
    key = (id(encoder), *(box.xyxy for box in boxes))
    return run.memo.get(key, lambda: encoder.embed([looks_of(run.view, box).image for box in boxes]))
