"""What decides between the steps of a frame: is it recorded, may it go on, whom is it about. Pure."""

from collections.abc import Collection, Mapping

from siwatsystem.pipeline.events import BranchResult
from siwatsystem.pipeline.node import Node, PipelineSpec
from siwatsystem.pipeline.reading import trigger_of
from siwatsystem.pipeline.regions import Regions, find
from siwatsystem.pipeline.subjects import Subject


def records(spec: PipelineSpec) -> bool:
    """Whether the archive writes initial records at all."""
    root = spec.pipeline
    return root.multi_class and bool(root.expected_classes) and spec.postgresql is not None


def all_expected(root: Node, regions: Regions) -> bool:
    """Whether every expected class is there: what an initial record wants."""
    return all(find(regions, name) is not None for name in root.expected_classes)


def not_ready(root: Node, regions: Regions, known: Collection[str]) -> str | None:
    """Why not everything that a `waitForBranches` names is about to run, or `known` of the object; None
    where it is."""
    for action in root.parallel_actions:
        for name in getattr(action, "wait_for_branches", ()):
            # A branch below a branch is about to run, as far as can be told, when that one is.
            owner = next(
                (branch for branch in root.branches if any(node.model_id == name for node in branch.walk())),
                None,
            )
            if name not in known and (owner is None or trigger_of(owner, regions) is None):
                there = ", ".join(regions)
                return f"a record waits for {name}, which nothing triggers here (there is {there})"
    return None


def with_remembered(
    root: Node, results: Mapping[str, BranchResult], subject: Subject
) -> dict[str, BranchResult]:
    """A frame's results and, where a branch had none, what it said earlier of the same object."""
    known: dict[str, BranchResult] = {}
    for branch in root.branches:
        known |= subject.remembered(branch)
    every = {**known, **results}
    return {node.model_id: every[node.model_id] for node in root.walk() if node.model_id in every}
