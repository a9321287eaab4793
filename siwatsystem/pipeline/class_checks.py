"""Whether the classes that a pipeline.json names are classes of its models. Pure.

A root's regions are what its `triggerClasses` let through; a branch is triggered by the regions of
its parent. What no model on the way could ever find is a mistake, what the way itself keeps from
being found is a warning. Nodes whose model is not known are passed over.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from siwatsystem.actions.spec import SaveImage
from siwatsystem.pipeline.node import Node, PipelineSpec
from siwatsystem.pipeline.problems import MOST, Problem, json_path, listed, nearest, shortened

Path = tuple[str | int, ...]
Names = Mapping[str, Collection[str]]
SHOWN = 12
"""Classes that a hint lists at most."""


def check_classes(spec: PipelineSpec, names_by_model_id: Names) -> list[Problem]:
    """Every class in `spec` that no model on its node's way has, with the nearest one that there is.

    `names_by_model_id` holds the class names of each node's model by its `modelId`; a model that
    could not be loaded is left out of it. Case does not matter, as it does not in running.
    """
    found = (problem for step in steps(spec.pipeline) for problem in _node_problems(step, names_by_model_id))
    return list(islice(found, MOST))


def check_tasks(spec: PipelineSpec, tasks_by_model_id: Mapping[str, str]) -> list[Problem]:
    """What only a detector can do, asked of a classifier. A model that could not be loaded is left out."""
    found: list[Problem] = []
    for step in steps(spec.pipeline):
        if tasks_by_model_id.get(step.node.model_id) != "classify":
            continue
        if step.node.tracked:
            hint = "track the node whose objects it classifies"
            place = json_path((*step.path, "tracking"))
            found.append(Problem(place, "a classifier finds no objects that could be followed", hint))
        if step.node.read_text:
            place = json_path((*step.path, "readText"))
            found.append(Problem(place, "a classifier finds no characters", "readText wants a detector"))
    return found


def class_warnings(spec: PipelineSpec, names_by_model_id: Names) -> list[str]:
    """Classes that some model has, but that never reach the place where they are named."""
    found: list[str] = []
    for step in steps(spec.pipeline):
        found += _unreachable(step, names_by_model_id)
        found += _whole_pictures(step.path, step.node, names_by_model_id)
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """A node, its place in pipeline.json, and what is above it, the root first."""

    path: Path
    node: Node
    above: tuple[Node, ...]

    @property
    def parent(self) -> Node | None:
        return self.above[-1] if self.above else None


def steps(root: Node) -> Iterator[Step]:
    """Every node below `root` and itself, each before its branches, in the order of the file."""
    waiting = [Step(("pipeline",), root, ())]
    while waiting:
        step = waiting.pop()
        yield step
        above = (*step.above, step.node)
        below = enumerate(step.node.branches)
        waiting += reversed([Step((*step.path, "branches", i), branch, above) for i, branch in below])


def _node_problems(step: Step, names: Names) -> Iterator[Problem]:
    path, node = step.path, step.node
    own = names.get(node.model_id)
    if step.parent is None:
        yield from _absent(path, "triggerClasses", node.trigger_classes, own, "the model's")
    else:
        name = step.parent.model_id
        parent = names.get(name)
        either = None if own is None or parent is None else [*parent, *own]
        yield from _absent(path, "triggerClasses", node.trigger_classes, either, "its parent's and its own")
        yield from _absent(path, "cropClass", node.crop_class, parent, f"{name!r}'s")
    yield from _absent(path, "expectedClasses", node.expected_classes, own, "the model's")
    yield from _absent(path, "objectClass", node.object_class, own, "the model's")
    known = [names.get(one.model_id) for one in (*step.above, node)]
    reachable = None if None in known else [name for some in known if some for name in some]
    for place, region in _regions(path, node):
        yield from _absent(place, "region", region, reachable, "the models'")


def _absent(
    path: Path, key: str, asked: str | Iterable[str] | None, there: Collection[str] | None, whose: str
) -> Iterator[Problem]:
    if asked is None or there is None:
        return
    lone, known = isinstance(asked, str), _folded(there)
    for index, name in enumerate([asked] if isinstance(asked, str) else asked):
        if name.casefold() not in known:
            place = json_path((*path, key) if lone else (*path, key, index))
            yield Problem(place, f"no model here has a class {shortened(name)!r}", _hint(name, there, whose))


def _hint(name: str, there: Collection[str], whose: str) -> str:
    by_folded = {one.casefold(): one for one in there}
    close = nearest(name.casefold(), by_folded)
    shown = f"{whose} classes: {listed(dict.fromkeys(there), SHOWN)}"
    return f"did you mean {by_folded[close]!r}? {shown}" if close else shown


def _unreachable(step: Step, names: Names) -> Iterator[str]:
    """What the parent's model has, but the parent does not keep."""
    parent, node = step.parent, step.node
    has = None if parent is None else names.get(parent.model_id)
    if parent is None or has is None:
        return
    there = _folded(has)
    keeps = there & _folded(parent.trigger_classes)
    if not keeps and len(step.above) > 1:
        keeps = there
    lost = there - keeps
    missed = [name for name in node.trigger_classes if name.casefold() in lost]
    place, above = json_path(step.path), f"{parent.model_id!r}"
    for name in missed:
        yield f"{place}.triggerClasses: {above} does not keep {name!r}: it is not in its triggerClasses"
    if not keeps & _folded(node.trigger_classes) and node.trigger_classes:
        yield f"{place}.triggerClasses: none is a class that {above} finds, so this branch never runs"
    crop = node.crop_class if node.crop else None
    if crop is not None and crop.casefold() in lost:
        yield f"{place}.cropClass: {above} does not keep {crop!r}, so this branch never runs"


def _whole_pictures(path: Path, node: Node, names: Names) -> Iterator[str]:
    own = names.get(node.model_id)
    if own is None:
        return
    for place, region in _regions(path, node):
        if region.casefold() not in _folded(own):
            yield (
                f"{json_path((*place, 'region'))}: {region!r} is no class of this node's own model, "
                "so the whole picture is saved"
            )


def _regions(path: Path, node: Node) -> Iterator[tuple[Path, str]]:
    for key, actions in (("actions", node.actions), ("parallelActions", node.parallel_actions)):
        for index, action in enumerate(actions):
            if isinstance(action, SaveImage) and action.region is not None:
                yield (*path, key, index), action.region


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)
