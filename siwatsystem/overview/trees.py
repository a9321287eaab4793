"""A pipeline as a tree of nodes, with what each did lately and how long that took."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.trace import Step

KEPT = 120
"""Runs of a node of which the times are kept."""


@dataclass(slots=True)
class Doings:
    """What one node did since somebody looks."""

    runs: int = 0
    skipped: int = 0
    failed: int = 0
    newest: Step | None = None
    seconds: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))

    def add(self, step: Step) -> None:
        self.newest = step
        match step.outcome:
            case "ran":
                self.runs += 1
                self.seconds.append(step.seconds)
            case "skipped":
                self.skipped += 1
            case "failed":
                self.failed += 1

    def as_dict(self) -> dict[str, Any]:
        """Times in milliseconds; None before the first run."""
        ordered = sorted(self.seconds)
        newest = self.newest
        return {
            "runs": self.runs,
            "skipped": self.skipped,
            "failed": self.failed,
            "mean_ms": round(1000 * fmean(ordered), 1) if ordered else None,
            "p95_ms": round(1000 * ordered[int(0.95 * (len(ordered) - 1))], 1) if ordered else None,
            "newest": None
            if newest is None
            else {"outcome": newest.outcome, "reason": newest.reason, "result": newest.result},
        }


class Times:
    """What the nodes of a pipeline did on a camera's frames."""

    def __init__(self) -> None:
        self._of: dict[str, Doings] = {}
        self._sequence = 0

    def add(self, sequence: int, steps: Iterable[Step]) -> None:
        """The steps of one subscription on that frame. Others on the same frame share the models' answers,
        and would look as if these took no time: the first one counts."""
        if sequence == self._sequence:
            return
        self._sequence = sequence
        for step in steps:
            self._of.setdefault(step.model_id, Doings()).add(step)

    def of(self, model_id: str) -> dict[str, Any]:
        return self._of.get(model_id, Doings()).as_dict()


def tree_of(pipeline: Pipeline, times: Times | None = None) -> dict[str, Any]:
    """The root node and, in `branches`, those below it."""
    return _node(pipeline.spec.pipeline, pipeline, times or Times())


def _node(node: Node, pipeline: Pipeline, times: Times) -> dict[str, Any]:
    model = pipeline.models[node.model_id]
    return {
        "id": node.model_id,
        "task": model.task,
        "runtime": getattr(model, "runtime", ""),
        "classes": list(node.trigger_classes),
        "crop": node.crop,
        "tracked": node.tracked,
        "least": node.min_confidence,
        "actions": [action.type for action in (*node.actions, *node.parallel_actions)],
        "times": times.of(node.model_id),
        "branches": [_node(branch, pipeline, times) for branch in node.branches],
    }
