"""Branches: which are triggered by regions, and how one runs on its crop."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from siwatsystem import metrics
from siwatsystem.actions.base import Job
from siwatsystem.detections import Classification, Detection, Prediction
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import BranchResult
from siwatsystem.pipeline.regions import Regions, best_per_class, find, in_reading_order, same_name
from siwatsystem.pipeline.spec import Node

if TYPE_CHECKING:
    from siwatsystem.model_registry import SharedModel

log = logging.getLogger(__name__)

Box = tuple[int, int, int, int]

Predict = Callable[[Node, Box | None], Prediction]
"""A node's model over the picture, or over a part of it; boxes in pixels of that part."""


class Acts(Protocol):
    """Makes the jobs of a node's actions."""

    def branch_actions(self, node: Node, result: BranchResult, regions: Regions) -> list[Job]: ...

    def parallel_actions(
        self, node: Node, results: Mapping[str, BranchResult], regions: Regions
    ) -> list[Job]: ...


@dataclass(slots=True)
class Outcome:
    """What a branch and the branches below it gave."""

    results: dict[str, BranchResult] = field(default_factory=dict[str, BranchResult])
    jobs: list[Job] = field(default_factory=list[Job])

    def add(self, other: "Outcome") -> None:
        self.results.update(other.results)
        self.jobs.extend(other.jobs)


def trigger_of(branch: Node, regions: Regions) -> Detection | None:
    """The region that a branch runs on; None where nothing triggers it or its crop is not there."""
    triggering = [
        region
        for name in branch.trigger_classes
        if (region := find(regions, name)) is not None and region.confidence >= branch.min_confidence
    ]
    if not triggering:
        return None
    if branch.crop and branch.crop_class is not None:
        return find(regions, branch.crop_class)
    return max(triggering, key=lambda region: region.confidence)


def kept(node: Node, detections: Sequence[Detection], names: Mapping[int, str]) -> tuple[Detection, ...]:
    """A node's own boxes: confident enough, and of its trigger classes where its model has such."""
    wanted = [name for name in node.trigger_classes if any(same_name(name, own) for own in names.values())]
    return tuple(
        box
        for box in detections
        if box.confidence >= node.min_confidence
        and (not wanted or any(same_name(name, box.class_name) for name in wanted))
    )


def crop_box(region: Detection, image: Image) -> tuple[int, int, int, int] | None:
    """The region's pixels, clipped to the picture; None where nothing is left."""
    height, width = image.shape[:2]
    x1, y1 = max(0, int(region.xyxy[0])), max(0, int(region.xyxy[1]))
    x2, y2 = min(width, int(region.xyxy[2])), min(height, int(region.xyxy[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


class BranchRunner:
    """Runs the branches of one event, parallel ones side by side in `threads`."""

    def __init__(
        self,
        image: Image,
        predict: Predict,
        acts: Acts,
        models: Mapping[str, "SharedModel"],
        threads: ThreadPoolExecutor,
    ) -> None:
        self._image = image
        self._predict = predict
        self._acts = acts
        self._models = models
        self._threads = threads

    def run(self, branches: Sequence[Node], regions: Regions) -> Outcome:
        """All triggered branches; their results in the order of the archive, whatever ended first."""
        triggered = [
            (branch, region) for branch in branches if (region := trigger_of(branch, regions)) is not None
        ]
        side_by_side = sum(branch.parallel for branch, _ in triggered) > 1
        started: list[Outcome | Future[Outcome]] = []
        begun: list[Callable[[], Outcome]] = []
        for branch, region in triggered:
            begun.append(lambda branch=branch, region=region: self._one(branch, region))
            parallel = branch.parallel and side_by_side
            started.append(self._threads.submit(begun[-1]) if parallel else begun[-1]())
        outcome = Outcome()
        for future, again in zip(started, begun, strict=True):
            if isinstance(future, Outcome):
                outcome.add(future)
            else:
                # What no thread has taken up yet is done here: a pool full of waiting parents
                # would otherwise never come to their branches.
                outcome.add(again() if future.cancel() else future.result())
        return outcome

    def _one(self, branch: Node, region: Detection) -> Outcome:
        """One branch; a failure costs only its own result."""
        try:
            return self._run_one(branch, region)
        except Exception:
            # Models and libraries fail in ways that no list of errors covers.
            log.exception("branch %s failed", branch.model_id)
            metrics.ERRORS.labels("pipeline_failed").inc()
            return Outcome()

    def _run_one(self, branch: Node, region: Detection) -> Outcome:
        began = time.perf_counter()
        box = crop_box(region, self._image) if branch.crop else None
        if branch.crop and box is None:
            return Outcome()
        said = self._predict(branch, box)
        result, regions = read(branch, region, box, said, self._models[branch.model_id].names)
        metrics.NODE_SECONDS.labels(branch.model_id).observe(time.perf_counter() - began)
        if result is None:
            return Outcome()
        outcome = Outcome({branch.model_id: result}, self._acts.branch_actions(branch, result, regions))
        outcome.add(self.run(branch.branches, regions))
        outcome.jobs += self._acts.parallel_actions(branch, outcome.results, regions)
        return outcome


def read(
    branch: Node,
    region: Detection,
    box: Box | None,
    said: Prediction,
    names: Mapping[int, str],
) -> tuple[BranchResult | None, Regions]:
    """What a branch's model said of the part inside `box` (None: of the whole picture), as its result
    and as regions of the picture for the branches below it. No result: nothing below it runs."""
    if isinstance(said, Classification):
        if branch.min_result_confidence is not None and said.confidence < branch.min_result_confidence:
            return None, {}
        seen = replace(region, class_name=said.class_name, confidence=said.confidence)
        return BranchResult(branch, said.class_name, said.confidence, seen.tracker_id), {
            said.class_name: seen
        }
    boxes = kept(branch, _to_picture(branch, box, said), names)
    regions = best_per_class(boxes)
    if not boxes or not expected(branch, regions):
        return None, {}
    best = max(boxes, key=lambda one: one.confidence)
    name = in_reading_order(boxes) if branch.read_text else best.class_name
    if branch.min_result_confidence is not None and best.confidence < branch.min_result_confidence:
        return None, {}
    return BranchResult(branch, name, best.confidence, best.tracker_id, boxes), regions


def _to_picture(branch: Node, box: Box | None, boxes: Sequence[Detection]) -> list[Detection]:
    if box is None:
        return list(boxes)
    x1, y1, x2, y2 = box
    width, height = branch.resize_target or (x2 - x1, y2 - y1)
    return [one.shifted(x1, y1, (x2 - x1) / width, (y2 - y1) / height) for one in boxes]


def expected(node: Node, regions: Regions) -> bool:
    """Whether at least one expected class is there, where a node expects any."""
    if not (node.multi_class and node.expected_classes):
        return True
    return any(find(regions, name) is not None for name in node.expected_classes)
