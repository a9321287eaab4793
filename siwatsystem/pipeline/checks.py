"""What must hold between the parts of a pipeline.json, beyond the type of each.

The checks read the JSON as it stands, not the models: they are made even where a part has the
wrong type, so that an author sees every mistake at once.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter, ValidationError

from siwatsystem.actions import templates
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.spec import Action, ActionModel, UpdateCombined
from siwatsystem.pipeline.fields import Point
from siwatsystem.pipeline.node import result_fields
from siwatsystem.pipeline.problems import Problem, json_path, listed, nearest, shortened
from siwatsystem.pipeline.zone_checks import zone_trouble

CONTEXT = (
    "class",
    "confidence",
    "id",
    "bbox",
    "timestamp_ms",
    "timestamp",
    "uuid",
    "filename",
    "camera_id",
    "display_id",
    "session_id",
    "image_key",
)
"""Names that every event's context holds."""

MAX_NODES = 256
"""As many as an archive has files at most, where nothing else is set."""

Path = tuple[str | int, ...]
Json = Mapping[str, Any]
_ACTION: TypeAdapter[ActionModel] = TypeAdapter(Action)
_ZONE = TypeAdapter(Annotated[tuple[Point, ...], Field(min_length=3)])


def check(data: Json, files: Collection[str] | None) -> Iterator[Problem]:
    """Every mistake between the parts of `data`; `files` are the archive's, None when not known."""
    nodes = list(_nodes(data.get("pipeline"), ("pipeline",)))
    yield from _duplicates(nodes)
    known = set(CONTEXT).union(*(_results(node) for _, node in nodes))
    places = {name: place for place, node in reversed(nodes) if (name := _text(node, "modelId"))}
    for path, node in nodes:
        if files is not None:
            yield from _files(path, node, files)
        yield from _tracking(path, node)
        below = [name for name, there in places.items() if there[: len(path)] == path and there != path]
        for place, action, whole in _actions(path, node):
            yield from _placeholders(place, action, known)
            if not whole:
                continue
            yield from _server(place, action, data)
            if isinstance(action, UpdateCombined):
                yield from _waits(place, action, path, places, below[::-1])


def has_too_many_nodes(data: Json) -> bool:
    """Whether there are more than MAX_NODES: each costs time here, and on every frame."""
    return any(islice(_nodes(data.get("pipeline"), ("pipeline",)), MAX_NODES, None))


def _nodes(value: object, path: Path) -> Iterator[tuple[Path, Json]]:
    if not isinstance(value, Mapping):
        return
    node = cast(Json, value)
    yield path, node
    for index, branch in enumerate(_list(node.get("branches"))):
        yield from _nodes(branch, (*path, "branches", index))


def _list(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _text(node: Json, key: str) -> str | None:
    value = node.get(key)
    return value if isinstance(value, str) and value else None


def _results(node: Json) -> set[str]:
    model_id = _text(node, "modelId")
    return set() if model_id is None else result_fields(model_id, _text(node, "resultField"))


def _duplicates(nodes: list[tuple[Path, Json]]) -> Iterator[Problem]:
    seen: Counter[str] = Counter()
    for path, node in nodes:
        name = _text(node, "modelId")
        if name is None:
            continue
        seen[name] += 1
        if seen[name] > 1:
            yield Problem(
                json_path((*path, "modelId")), f"{shortened(name)!r} is the id of another node already"
            )


def _files(path: Path, node: Json, files: Collection[str]) -> Iterator[Problem]:
    tracking = node.get("tracking")
    asked = [((*path, "modelFile"), _text(node, "modelFile"))]
    if isinstance(tracking, Mapping):
        asked.append(((*path, "tracking", "reidModel"), _text(cast(Json, tracking), "reidModel")))
    for place, name in asked:
        plain = name.removeprefix("./") if name else name
        if plain and plain not in files and not any(file.startswith(f"{plain}/") for file in files):
            yield Problem(json_path(place), f"{shortened(plain)!r} is not in the archive")


def _tracking(path: Path, node: Json) -> Iterator[Problem]:
    value = node.get("tracking")
    if not isinstance(value, Mapping):
        return
    tracking = cast(Json, value)
    yield from _zone((*path, "tracking", "zone"), tracking.get("zone"))
    config = tracking.get("config")
    asked = isinstance(config, Mapping) and cast(Json, config).get("with_reid") is True
    if (tracking.get("method") == "strongsort" or asked) and not tracking.get("reidModel"):
        yield Problem(
            json_path((*path, "tracking", "reidModel")),
            "is missing, and appearance cannot be compared without it",
            "name an appearance encoder in the archive, or use bytetrack or botsort",
        )


def _actions(path: Path, node: Json) -> Iterator[tuple[Path, ActionModel, bool]]:
    """The actions with their places, and whether each is right; of one that is not, what can be read."""
    for key in ("actions", "parallelActions"):
        for index, value in enumerate(_list(node.get(key))):
            try:
                yield (*path, key, index), _ACTION.validate_python(value), True
            except ValidationError:
                # What is wrong with it is told by the models.
                if (texts := _texts_of(value)) is not None:
                    yield (*path, key, index), texts, False


def _texts_of(value: object) -> ActionModel | None:
    """An action with mistakes, as far as its texts can be read; None where it is none at all."""
    if not isinstance(value, Mapping):
        return None
    given = cast(Json, value)
    kind = KINDS.get(cast(Any, _text(given, "type")))
    if kind is None or kind.model is None:
        return None
    fields: dict[str, Any] = {}
    for name, field in kind.model.model_fields.items():
        if isinstance(given.get(name), str):
            fields[name] = given[name]
        elif name == "fields":
            fields[name] = given[name] if isinstance(given.get(name), Mapping) else {}
        elif field.is_required():
            fields[name] = ""
    return kind.model.model_construct(**fields)


def _placeholders(path: Path, action: ActionModel, known: Collection[str]) -> Iterator[Problem]:
    for key, text in action.templates().items():
        for name in templates.unknown(text, known):
            yield Problem(
                json_path((*path, key)), f"{{{shortened(name)}}} is in no context", _near(name, known)
            )


def _near(name: str, known: Collection[str]) -> str:
    close = nearest(name, known)
    return f"did you mean {{{close}}}?" if close else ""


def _server(path: Path, action: ActionModel, data: Json) -> Iterator[Problem]:
    kind = next(about.server for about in KINDS.values() if about.model is type(action))
    if kind != "webhook" and data.get(kind) is None:
        own = f'{{"{kind}": "embedded"}} is the worker\'s own' if kind in ("redis", "postgresql") else ""
        yield Problem(json_path(path), f"needs {kind!r} beside 'pipeline'", own)


def _zone(path: Path, value: object) -> Iterator[Problem]:
    try:
        trouble = zone_trouble(_ZONE.validate_python(value))
    except ValidationError:
        return  # no list of corners at all: told by the models
    if trouble is not None:
        yield Problem(json_path(path), trouble, "list the corners in order around the zone")


def _waits(
    path: Path, action: UpdateCombined, own: Path, places: Mapping[str, Path], below: list[str]
) -> Iterator[Problem]:
    """Waiting is for what runs below the node, and what runs below never waits for what is above:
    so no two records can wait for each other, and a cycle is always one of the mistakes told here."""
    for index, name in enumerate(action.wait_for_branches):
        place = places.get(name)
        if place is not None and place != own and place[: len(own)] == own:
            continue
        told = repr(shortened(name))
        if place == own:
            message = f"{told} is this node itself: waiting for itself it would wait for ever"
        elif place is not None and own[: len(place)] == place:
            message = (
                f"{told} is above this node and ends only after it: each would wait for the other for ever"
            )
        elif place is not None:
            message = f"{told} is no branch of this node, but of another"
        else:
            message = f"{told} is no branch of this node"
        hint = f"its branches: {listed(below)}"
        yield Problem(json_path((*path, "waitForBranches", index)), message, hint)
