"""pipeline.json: read it, and tell everything that is wrong with it at once."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, cast

from pydantic import ValidationError

from siwatsystem.actions.registry import KINDS
from siwatsystem.pipeline.checks import MAX_NODES, check, has_too_many_nodes
from siwatsystem.pipeline.node import Node, PipelineSpec
from siwatsystem.pipeline.problems import LINE, MOST, PipelineInvalid, Problem, json_path, shortened
from siwatsystem.pipeline.tracking import Tracking

__all__ = ["Node", "PipelineInvalid", "PipelineSpec", "Problem", "Tracking", "bare_model", "parse"]

MAX_DEPTH = 64
"""Deepest nesting of lists and objects; a branch takes two."""
BARE_CONFIDENCE = 0.25
TAGS = (*KINDS, "embedded", "server")


def parse(data: object, files: Collection[str] | None = None) -> PipelineSpec:
    """The pipeline that the JSON value `data` describes.

    `files` are the paths beside pipeline.json in its archive, with `/` between folders; None leaves
    unchecked whether models are there. Raises PipelineInvalid, a ModelInvalid, with every mistake (or
    about the first hundred of each kind).
    """
    if not isinstance(data, Mapping):
        raise PipelineInvalid([Problem("", f"must be an object, not {_kind(data)}")])
    if _too_deep(data):
        raise PipelineInvalid([Problem("", f"is nested deeper than {MAX_DEPTH} levels")])
    if has_too_many_nodes(cast(Mapping[str, Any], data)):
        raise PipelineInvalid([Problem("pipeline", f"has more than {MAX_NODES} nodes")])
    problems: list[Problem] = []
    spec: PipelineSpec | None = None
    try:
        spec = PipelineSpec.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += [_problem(dict(item)) for item in error.errors(include_url=False)[:MOST]]
    problems += islice(check(cast(Mapping[str, Any], data), files), MOST)
    if problems or spec is None:
        raise PipelineInvalid(problems)
    return spec


def bare_model(file_name: str, class_names: Sequence[str], tracked: bool = True) -> PipelineSpec:
    """The pipeline of a model that came without one: all its classes from 0.25 on, tracked if it detects."""
    node = Node(
        model_id=PurePosixPath(file_name).stem,
        model_file=file_name,
        min_confidence=BARE_CONFIDENCE,
        trigger_classes=tuple(class_names),
        tracking=Tracking() if tracked else None,
    )
    return PipelineSpec(pipeline=node)


def _problem(item: dict[str, Any]) -> Problem:
    """A mistake that pydantic found, in the words of pipeline.json."""
    loc: Sequence[str | int] = item["loc"]
    path = json_path([part for part in loc if part not in TAGS])
    value, kind = item["input"], str(item["type"])
    if kind == "missing":
        return Problem(path, "is missing")
    if kind == "union_tag_not_found":
        return Problem(f"{path}.type", "is missing")
    if kind == "union_tag_invalid":
        return _no_action(path, item["ctx"])
    if kind in EXPECTED:
        return Problem(path, f"must be {EXPECTED[kind]}, not {_kind(value)}")
    message = str(item["msg"]).removeprefix("Value error, ").replace(" after validation", "")
    if kind == "too_short" and isinstance(value, list):
        message = f"needs at least {item['ctx']['min_length']} entries, not {len(cast(list[Any], value))}"
    return Problem(path, shortened(message[:1].lower() + message[1:], LINE))


def _no_action(path: str, context: Mapping[str, Any]) -> Problem:
    tag, allowed = str(context["tag"]), str(context["expected_tags"]).replace("'", "")
    hint = "belongs into parallelActions" if tag == "postgresql_update_combined" else f"allowed: {allowed}"
    return Problem(f"{path}.type", f"{shortened(tag)!r} is no action here", hint)


EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _kind(value: object) -> str:
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"),
        (str, "a text"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "an object"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _too_deep(data: object) -> bool:
    level: list[object] = [data]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                below += cast(Mapping[str, object], value).values()
            elif isinstance(value, list):
                below += cast(list[object], value)
        if not below:
            return False
        level = below
    return True
