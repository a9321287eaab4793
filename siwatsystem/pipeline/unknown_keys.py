"""Keys of a pipeline.json that nothing reads, found in the JSON as it stands: also where parts of it are
wrong."""

from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from siwatsystem.pipeline.node import PipelineSpec
from siwatsystem.pipeline.problems import json_path

NOTES = "//"
"""Keys that begin so are remarks for people; `$schema` is one for editors."""
DEEPEST = 100
"""Lists and objects below each other that are looked at; the parser refuses files that go deeper."""

Path = tuple[str | int, ...]
Model = type[BaseModel]


def is_note(key: str) -> bool:
    """Whether a key of pipeline.json means nothing to the worker, and is meant to."""
    return key.startswith(NOTES) or key == "$schema"


def unknown_keys(data: object) -> Iterator[str]:
    """Paths of the keys of the JSON value `data` that no part of a pipeline has, outer ones first."""
    yield from _of_object(data, PipelineSpec, ())


def _of_object(value: object, model: Model, path: Path) -> Iterator[str]:
    if not isinstance(value, Mapping) or len(path) > DEEPEST:
        return
    given = cast(Mapping[str, Any], value)
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    yield from (json_path((*path, key)) for key in given if key not in fields and not is_note(key))
    for key, field in fields.items():
        if key in given:
            yield from _of_value(given[key], _models(field), (*path, key))


def _of_value(value: object, models: tuple[Model, ...], path: Path) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(cast(list[object], value)):
            yield from _of_value(item, models, (*path, index))
    elif isinstance(value, Mapping) and (model := _meant(cast(Mapping[str, Any], value), models)) is not None:
        yield from _of_object(cast(object, value), model, path)


def _meant(value: Mapping[str, Any], models: tuple[Model, ...]) -> Model | None:
    """The one of the models that the object is: the only one, or that of its `type`."""
    if len(models) == 1:
        return models[0]
    kind = value.get("type")
    return next((one for one in models if kind in get_args(one.model_fields["type"].annotation)), None)


def _models(field: FieldInfo) -> tuple[Model, ...]:
    """What the objects of a field may be."""
    return tuple(dict.fromkeys(_within(field.annotation)))


def _within(annotation: Any) -> Iterator[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _within(part)
