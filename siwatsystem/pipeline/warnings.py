"""What in a pipeline.json is read and works, but is hardly what its author meant."""

from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel

from siwatsystem.actions import templates
from siwatsystem.pipeline.node import Node, PipelineSpec, result_fields
from siwatsystem.pipeline.problems import json_path
from siwatsystem.pipeline.unknown_keys import is_note
from siwatsystem.pipeline.zone_checks import mixes_units

Path = tuple[str | int, ...]


def warnings_of(spec: PipelineSpec) -> list[str]:
    """Unknown keys with their path, then settings that will not do what they say."""
    found = [f"{path}: unknown key" for path in _unknown_keys(spec, ())]
    return found + [
        text for path, node in _nodes(spec.pipeline, ("pipeline",)) for text in _hardly_meant(path, node)
    ]


def _unknown_keys(value: object, path: Path) -> Iterator[str]:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        yield from (json_path((*path, name)) for name in value.model_extra or {} if not is_note(name))
        for name, field in fields.items():
            yield from _unknown_keys(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, tuple):
        for index, item in enumerate(cast(tuple[Any, ...], value)):
            yield from _unknown_keys(item, (*path, index))


def _nodes(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    yield path, node
    for index, branch in enumerate(node.branches):
        yield from _nodes(branch, (*path, "branches", index))


def _hardly_meant(path: Path, node: Node) -> Iterator[str]:
    place = json_path(path)
    if not node.trigger_classes:
        yield f"{place}.triggerClasses: is empty, so nothing is of interest here"
    if node.crop_class is not None and not node.crop:
        yield f"{place}.cropClass: has no effect without crop"
    if node.expected_classes and not node.multi_class:
        yield f"{place}.expectedClasses: has no effect without multiClass"
    zone = None if node.tracking is None else node.tracking.zone
    if zone is not None and mixes_units(zone):
        yield (
            f"{place}.tracking.zone: mixes fractions of the picture and pixels; with one number above 1 "
            "all are pixels"
        )
    if node.tracking is not None and node.tracking.method == "strongsort":
        yield f"{place}.tracking.method: strongsort is read as botsort with appearance"
    later = {name for below in node.walk() if below is not node for name in _results(below)}
    for index, action in enumerate(node.actions):
        for key, text in action.templates().items():
            early = sorted(later.intersection(templates.placeholders(text)))
            yield from (
                f"{place}.actions[{index}].{key}: {{{name}}} is not known yet when this action runs"
                for name in early
            )


def _results(node: Node) -> set[str]:
    return result_fields(node.model_id, node.result_field)
