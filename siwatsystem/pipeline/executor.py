"""One frame through the tree of nodes, in the order of `pympta.md`.

`run` is called from the pool's threads, several at a time for different cameras: a Pipeline holds
no state of a run, what a subscription remembers is in the `PipelineState` that is passed.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from siwatsystem import metrics
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.detections import Classification, Detection, Prediction
from siwatsystem.errors import ModelInvalid, SiwatError
from siwatsystem.frames import Image
from siwatsystem.model_registry import ModelRegistry, SharedModel
from siwatsystem.pipeline.acting import Actor
from siwatsystem.pipeline.branches import BranchRunner, expected, kept, trigger_of
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.regions import Regions, best_per_class, by_object, find, same_name
from siwatsystem.pipeline.spec import Node, PipelineSpec
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.runtime.backend import Precision

log = logging.getLogger(__name__)

Box = tuple[int, int, int, int]


class Sink(Protocol):
    """Where an event's jobs go; never blocks."""

    def submit(self, event: OutboxEvent) -> bool | None: ...


class Pipeline:
    """A spec with its models, ready to run on pictures."""

    def __init__(
        self,
        spec: PipelineSpec,
        models: Mapping[str, SharedModel],
        sink: Sink,
        targets: Mapping[str, str],
        threads: ThreadPoolExecutor,
        on_picture: Callable[[Image, list[Event]], None] | None = None,
    ) -> None:
        self.spec = spec
        self.models = models
        self.precision: Precision = "exact"
        self.precision_reason = "no picture was compared yet"
        self._sink = sink
        self._targets = targets
        self._threads = threads
        self.on_picture = on_picture
        self._is_branch = False
        self._runs = 0
        self._idle = threading.Condition()

    def rooted_at(self, node: Node) -> "Pipeline":
        """The part of this pipeline from `node` down, on the same models and servers.

        A branch keeps of its own model what it keeps as a branch, of the whole picture: its
        `triggerClasses` are its parent's classes.
        """
        spec = self.spec.model_copy(update={"pipeline": node})
        part = Pipeline(spec, self.models, self._sink, self._targets, self._threads)
        part._is_branch = self._is_branch or node.model_id != self.spec.pipeline.model_id
        return part

    def run(
        self,
        image: Image,
        context: EventContext,
        memo: PredictionMemo | None = None,
        state: PipelineState | None = None,
        submitted: list[str] | None = None,
    ) -> list[Event]:
        """The events of a picture (H×W×3 BGR), most confident first; their actions go to the outbox.

        `submitted` collects the ids of the outbox events. Raises what a root model raises.
        """
        with self._idle:
            self._runs += 1
        try:
            return self._run(image, context, memo, state, submitted)
        finally:
            with self._idle:
                self._runs -= 1
                self._idle.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no picture is under way; False if that takes longer than `timeout` seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._runs == 0, timeout)

    def _run(
        self,
        image: Image,
        context: EventContext,
        memo: PredictionMemo | None,
        state: PipelineState | None,
        submitted: list[str] | None,
    ) -> list[Event]:
        answers = memo or PredictionMemo()
        if state is not None:
            state.frames += 1
        root = self.spec.pipeline
        began = time.perf_counter()
        said = self._predict(root, image, None, answers)
        metrics.NODE_SECONDS.labels(root.model_id).observe(time.perf_counter() - began)
        events: list[Event] = []
        for regions in self._groups(root, image, said):
            event = self._event(root, image, regions, context, answers, submitted)
            if event is not None:
                events.append(event)
        if self.on_picture is not None:
            self.on_picture(image, events)
        return sorted(events, key=lambda event: -event.confidence)

    def _groups(self, root: Node, image: Image, said: Prediction) -> list[dict[str, Detection]]:
        """The regions of each event: step 1."""
        if isinstance(said, Classification):
            # A root that classifies has the whole picture as its one region.
            height, width = image.shape[:2]
            whole = Detection(said.class_name, said.confidence, (0.0, 0.0, float(width), float(height)))
            if self._is_branch:
                sure = said.confidence >= (root.min_result_confidence or 0.0)
                return [{said.class_name: whole}] if sure else []
            said = (whole,)
        boxes = tuple(
            box
            for box in kept(root, said, self.models[root.model_id].names)
            if self._is_branch or any(same_name(name, box.class_name) for name in root.trigger_classes)
        )
        if root.object_class is not None:
            return by_object(boxes, root.object_class)
        regions = best_per_class(boxes)
        return [regions] if regions else []

    def _event(
        self,
        root: Node,
        image: Image,
        regions: Regions,
        context: EventContext,
        memo: PredictionMemo,
        submitted: list[str] | None,
    ) -> Event | None:
        if not expected(root, regions) or not self._branches_ready(root, regions):
            return None
        detection = self._main(root, regions)
        recorded = self._wants_record(root, regions)
        session_id = context.session_id
        if session_id is None and recorded:
            session_id = str(uuid.uuid4())
        actor = Actor(image, detection, context, session_id, self._targets)
        jobs = [actor.initial_record()] if recorded else []
        jobs += actor.root_actions(root, regions)
        outcome = BranchRunner(
            image,
            lambda node, box: self._predict(node, image, box, memo),
            actor,
            self.models,
            self._threads,
        ).run(root.branches, regions)
        jobs += outcome.jobs
        jobs += actor.parallel_actions(root, outcome.results, regions)
        if jobs:
            lane = None if session_id is None else str(session_id)
            event = OutboxEvent(tuple(jobs), lane=lane, subscription=context.camera_id)
            self._sink.submit(event)
            if submitted is not None:
                submitted.append(event.event_id)
        return Event(detection, regions, outcome.results, session_id)

    def _branches_ready(self, root: Node, regions: Regions) -> bool:
        """Step 3: everything that a `waitForBranches` names is about to run."""
        for action in root.parallel_actions:
            for name in getattr(action, "wait_for_branches", ()):
                # A branch below a branch is about to run, as far as can be told, when that one is.
                owner = next(
                    (
                        branch
                        for branch in root.branches
                        if any(node.model_id == name for node in branch.walk())
                    ),
                    None,
                )
                if owner is None or trigger_of(owner, regions) is None:
                    return False
        return True

    def _wants_record(self, root: Node, regions: Regions) -> bool:
        """Step 4: all expected classes are there, and there is a database to write to."""
        return (
            root.multi_class
            and bool(root.expected_classes)
            and "postgresql" in self._targets
            and all(find(regions, name) is not None for name in root.expected_classes)
        )

    def _main(self, root: Node, regions: Regions) -> Detection:
        if root.object_class is not None:
            thing = find(regions, root.object_class)
            if thing is not None:
                return thing
        return max(regions.values(), key=lambda region: region.confidence)

    def _predict(self, node: Node, image: Image, box: Box | None, memo: PredictionMemo) -> Prediction:
        """A node's model over the picture or a part of it, stretched to its `resizeTarget`."""
        model, precision = self.models[node.model_id], self.precision
        key = (id(model), precision, box, node.resize_target, node.min_confidence)

        def make() -> Prediction:
            return model.predict(crop_of(image, box, node), node.min_confidence, precision)

        return memo.get(key, make)


def crop_of(image: Image, box: Box | None, node: Node) -> Image:
    """What a node's model is given: the part inside `box`, stretched to `resizeTarget`."""
    part = image if box is None else image[box[1] : box[3], box[0] : box[2]]
    if node.resize_target is None:
        return part
    import cv2
    import numpy as np

    return np.asarray(cv2.resize(part, node.resize_target), np.uint8)


def load_models(
    spec: PipelineSpec, folder: Path, registry: ModelRegistry, owner: str
) -> dict[str, SharedModel]:
    """Every node's model by its `modelId`. Raises ModelError; nothing stays acquired then.

    In the registry a model goes by `owner/modelId`, because two archives may use the same ids.
    """
    models: dict[str, SharedModel] = {}
    try:
        for node in spec.pipeline.walk():
            models[node.model_id] = registry.acquire(f"{owner}/{node.model_id}", folder / node.model_file)
    except FileNotFoundError as error:
        release_models(models, registry, owner)
        raise ModelInvalid(f"a model file is missing: {Path(str(error.filename or error)).name}") from None
    except SiwatError:
        release_models(models, registry, owner)
        raise
    return models


def release_models(models: Mapping[str, SharedModel], registry: ModelRegistry, owner: str) -> None:
    for model_id in models:
        registry.release(f"{owner}/{model_id}")
