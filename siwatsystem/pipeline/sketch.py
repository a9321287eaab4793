"""As much of a pipeline.json as can be understood, for checks that need not wait until all of it can."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from siwatsystem.actions.spec import Action, ActionModel
from siwatsystem.pipeline.node import Node, PipelineSpec

Json = Mapping[str, Any]
_ACTION: TypeAdapter[ActionModel] = TypeAdapter(Action)
MAX_NODES_DEEP = 32
"""Branches below branches that are looked at; the parser refuses files that go deeper."""


def sketch(data: object) -> PipelineSpec | None:
    """The nodes of the JSON value `data` with their names, files, classes and actions; whatever has
    the wrong type is left out, and a `modelId` that is there twice is emptied. None without a root.

    Only for checks of what was understood: it is no spec that can run.
    """
    root = cast(Json, data).get("pipeline") if isinstance(data, Mapping) else None
    if not isinstance(root, Mapping):
        return None
    found = _node(cast(Json, root), 0)
    counts = Counter(node.model_id for node in found.walk())
    return PipelineSpec.model_construct(pipeline=_unambiguous(found, counts))


def _node(data: Json, depth: int) -> Node:
    branches = _list(data.get("branches")) if depth < MAX_NODES_DEEP else []
    return Node.model_construct(
        model_id=_text(data.get("modelId")) or "",
        model_file=(_text(data.get("modelFile")) or "").removeprefix("./"),
        trigger_classes=_texts(data.get("triggerClasses")),
        crop=data.get("crop") is True,
        crop_class=_text(data.get("cropClass")),
        expected_classes=_texts(data.get("expectedClasses")),
        object_class=_text(data.get("objectClass")),
        branches=tuple(_node(_object(branch), depth + 1) for branch in branches),
        actions=_actions(data.get("actions")),
        parallel_actions=_actions(data.get("parallelActions")),
    )


def _unambiguous(node: Node, counts: Counter[str]) -> Node:
    branches = tuple(_unambiguous(branch, counts) for branch in node.branches)
    model_id = node.model_id if counts[node.model_id] == 1 else ""
    return node.model_copy(update={"branches": branches, "model_id": model_id})


def _actions(value: object) -> tuple[Any, ...]:
    found: list[ActionModel] = []
    for item in _list(value):
        try:
            found.append(_ACTION.validate_python(item))
        except ValidationError:
            # Keeps the places of those after it; it has no region that could be looked up.
            found.append(ActionModel())
    return tuple(found)


def _object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in _list(value) if isinstance(item, str) and item)
