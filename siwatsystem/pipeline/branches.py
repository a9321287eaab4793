"""Branches: which are triggered by regions, and how one runs on its crop."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from siwatsystem import metrics
from siwatsystem.actions.base import Job
from siwatsystem.detections import Detection, Prediction
from siwatsystem.frames import Size
from siwatsystem.pipeline.crops import Box, crop_box
from siwatsystem.pipeline.events import BranchResult
from siwatsystem.pipeline.following import Seen
from siwatsystem.pipeline.reading import Reading, read, trigger_of
from siwatsystem.pipeline.regions import Regions
from siwatsystem.pipeline.spec import Node
from siwatsystem.pipeline.subjects import Owner
from siwatsystem.pipeline.trace import Step, Trace

if TYPE_CHECKING:
    from siwatsystem.model_registry import SharedModel

log = logging.getLogger(__name__)

Predict = Callable[[Node, Box | None], Prediction]
"""A node's model over the picture, or over a part of it; boxes in pixels of that part."""
Follow = Callable[[Node, Sequence[Detection]], Seen]
"""The boxes of a node that tracks, in pixels of the picture, as objects that are followed."""


class Acts(Protocol):
    """Makes the jobs of a node's actions."""

    def branch_actions(
        self, node: Node, result: BranchResult, regions: Regions, owner: Owner | None
    ) -> list[Job]: ...

    def parallel_actions(
        self, node: Node, results: Mapping[str, BranchResult], regions: Regions, owner: Owner | None
    ) -> list[Job]: ...


@dataclass(slots=True)
class Outcome:
    """What a branch and the branches below it gave."""

    results: dict[str, BranchResult] = field(default_factory=dict[str, BranchResult])
    jobs: list[Job] = field(default_factory=list[Job])

    def add(self, other: "Outcome") -> None:
        self.results.update(other.results)
        self.jobs.extend(other.jobs)


class BranchRunner:
    """Runs the branches of one event, parallel ones side by side in `threads`."""

    def __init__(
        self,
        size: Size,
        predict: Predict,
        acts: Acts,
        models: Mapping[str, "SharedModel"],
        threads: Executor,
        follow: Follow,
        at: float,
        doubtful: Collection[Detection] = (),
        trace: Trace | None = None,
    ) -> None:
        """`size`: the picture's height and width. `at`: when it was captured, in seconds. `doubtful` regions
        may belong to another object as well: what is said of them is no vote."""
        self._size = size
        self._predict = predict
        self._acts = acts
        self._models = models
        self._threads = threads
        self._follow = follow
        self._at = at
        self._doubtful = doubtful
        self._trace = trace

    def run(
        self, branches: Sequence[Node], regions: Regions, owner: Owner | None, below: bool = False
    ) -> Outcome:
        """All triggered branches; their results in the order of the archive, whatever ended first.

        `owner` is the object that the regions belong to; `below`: below another branch.
        """
        triggered = [
            (branch, region)
            for branch in branches
            if (region := self._due(branch, regions, owner, below)) is not None
        ]
        side_by_side = sum(branch.parallel for branch, _ in triggered) > 1
        started: list[Outcome | Future[Outcome]] = []
        begun: list[Callable[[], Outcome]] = []
        for branch, region in triggered:
            begun.append(lambda branch=branch, region=region: self._one(branch, region, owner))
            # The last one is this thread's own: it would only wait meanwhile.
            handed_over = branch.parallel and side_by_side and len(begun) < len(triggered)
            started.append(self._threads.submit(begun[-1]) if handed_over else begun[-1]())
        outcome = Outcome()
        for future, again in zip(started, begun, strict=True):
            if isinstance(future, Outcome):
                outcome.add(future)
            else:
                # What no thread has taken up yet is done here: a pool full of waiting parents
                # would otherwise never come to their branches.
                outcome.add(again() if future.cancel() else future.result())
        return outcome

    def _due(self, branch: Node, regions: Regions, owner: Owner | None, below: bool) -> Detection | None:
        """The region to run on; where there is none, that is told."""
        region = due(branch, regions, owner)
        if region is not None:
            return region
        if _settled(branch, owner):
            self._tell(branch, "skipped", "its votes have settled")
            return None
        there = ", ".join(regions) or "nothing"
        wanted = branch.crop_class if branch.crop and branch.crop_class else branch.trigger_classes
        self._tell(
            branch,
            "skipped",
            f"wants {wanted if isinstance(wanted, str) else ' or '.join(wanted)}, there is {there}",
        )
        if below and owner is not None:
            # The branch above runs only to reach this one: that must end some time.
            owner.subject.abstain(branch)
        return None

    def _one(self, branch: Node, region: Detection, owner: Owner | None) -> Outcome:
        """One branch; a failure costs only its own result."""
        began = time.perf_counter()
        try:
            return self._run_one(branch, region, owner, began)
        except Exception as error:
            # Models and libraries fail in ways that no list of errors covers.
            log.exception("branch %s failed", branch.model_id)
            metrics.ERRORS.labels("pipeline_failed").inc()
            seconds = time.perf_counter() - began
            self._tell(branch, "failed", f"{type(error).__name__}: {error}", "", seconds, began)
            if owner is not None:
                owner.subject.abstain(branch)
            return Outcome()

    def _run_one(self, branch: Node, region: Detection, owner: Owner | None, began: float) -> Outcome:
        box = crop_box(region, self._size) if branch.crop else None
        if branch.crop and box is None:
            self._tell(branch, "skipped", f"{region.class_name} lies outside the picture")
            return Outcome()
        said = self._predict(branch, box)
        follow = partial(self._follow, branch) if branch.tracked else None
        reading = read(branch, region, box, said, self._models[branch.model_id].names, follow)
        seconds = time.perf_counter() - began
        metrics.NODE_TIMES.observe(branch.model_id, seconds)
        why = f"on {region.class_name} {region.confidence:.2f}"
        if reading.result is None:
            self._tell(branch, "ran", why, reading.why, seconds, began)
            if owner is not None:
                owner.subject.abstain(branch)
            return Outcome()
        result = reading.result
        if owner is not None and region in self._doubtful:
            result = owner.subject.standing(result)
        elif owner is not None:
            result = owner.subject.vote(result, self._at)
        self._tell(branch, "ran", why, f"{result.class_name} {result.confidence:.2f}", seconds, began)
        own = _owner_below(branch, reading, owner)
        regions = reading.of_class(result.class_name)
        outcome = Outcome({branch.model_id: result}, self._acts.branch_actions(branch, result, regions, own))
        outcome.add(self.run(branch.branches, regions, own, below=True))
        if own is not None:
            for node in branch.branches:
                outcome.results = {**own.subject.remembered(node), **outcome.results}
        outcome.jobs += self._acts.parallel_actions(branch, outcome.results, regions, own)
        return outcome

    def _tell(
        self,
        branch: Node,
        outcome: Literal["ran", "skipped", "failed"],
        reason: str,
        result: str = "",
        seconds: float = 0.0,
        began: float = 0.0,
    ) -> None:
        if self._trace is not None:
            self._trace.steps.append(Step(branch.model_id, outcome, reason, result, seconds, began))


def due(branch: Node, regions: Regions, owner: Owner | None) -> Detection | None:
    """The region to run on; None where nothing triggers the branch or all is known already."""
    return None if _settled(branch, owner) else trigger_of(branch, regions)


def _settled(branch: Node, owner: Owner | None) -> bool:
    return owner is not None and owner.once and owner.subject.closed(branch)


def _owner_below(branch: Node, reading: Reading, owner: Owner | None) -> Owner | None:
    """On whose behalf a branch acts: the object that it follows itself, else the one it was given."""
    tracking = branch.tracking
    if tracking is None or reading.seen is None or not reading.regions:
        return owner
    best = max(reading.regions.values(), key=lambda box: box.confidence)
    subject = reading.seen.subject_of(best)
    if subject is None:
        return owner
    if owner is not None:
        owner.subject.found(branch, subject)
    return Owner(subject, tracking.acts_once or (owner is not None and owner.once))
