"""A first pipeline.json for given models, with remarks that explain each part. Pure.

JSON has no comments: remarks stand under keys that begin with `//`, which the worker passes over.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from siwatsystem.archive import SCHEMA
from siwatsystem.pipeline.node import default_result_name
from siwatsystem.runtime.metadata import Metadata

CONFIDENCE = 0.5
COLUMNS = {"brand": "car_brand", "model": "car_model", "body_type": "car_body_type"}
"""Columns of the table that the worker makes itself, by what a branch says."""
REDIS_PORT, POSTGRESQL_PORT = 6379, 5432


@dataclass(frozen=True, slots=True)
class Branch:
    """A model that looks at the crop of a class; `file` is its path inside the archive."""

    file: str
    facts: Metadata
    crop_class: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an author wants: `redis` and `postgresql` as they stand in pipeline.json, None without."""

    file: str
    facts: Metadata
    trigger_classes: tuple[str, ...]
    branches: tuple[Branch, ...] = ()
    object_class: str | None = None
    redis: Any = None
    postgresql: Any = None


def draft(wishes: Wishes) -> dict[str, Any]:
    """The JSON value of a pipeline.json that validates, remarks included."""
    ids = model_ids([wishes.file, *(branch.file for branch in wishes.branches)])
    crops = [branch.crop_class for branch in wishes.branches]
    kept = list(dict.fromkeys([*wishes.trigger_classes, *crops]))
    root: dict[str, Any] = {
        "//": "The root: its model looks at the whole picture. Only boxes of triggerClasses with at least "
        f"minConfidence count. Classes of the model: {', '.join(wishes.facts.names.values())}",
        "modelId": ids[0],
        "modelFile": wishes.file,
        "minConfidence": CONFIDENCE,
        "triggerClasses": kept,
    }
    if wishes.object_class is not None:
        root |= {
            "// objectClass": "One event per object of this class, with the boxes inside it as its parts. "
            "Without it a picture has one event.",
            "objectClass": wishes.object_class,
        }
    if wishes.postgresql is not None:
        expected = crops or [wishes.object_class or kept[0]]
        root |= {
            "// expectedClasses": "Without any of these no event; with all of them a record is made.",
            "multiClass": True,
            "expectedClasses": list(dict.fromkeys(expected)),
        }
    root["tracking"] = {
        "//": "Switched on, objects get ids; with stabilityThreshold an object must be seen on so many "
        "analysed frames in a row (in the zone, if one is drawn: [[x, y], …]) and is acted on once.",
        "enabled": False,
        "method": "bytetrack",
        "stabilityThreshold": 2,
    }
    if wishes.redis is not None:
        root |= _redis_actions((crops or [wishes.object_class or kept[0]])[0])
    if wishes.branches:
        root["// branches"] = "What looks closer at what was found; each can have branches of its own."
        branches = zip(wishes.branches, ids[1:], strict=True)
        root["branches"] = [_branch(branch, model_id) for branch, model_id in branches]
    if wishes.postgresql is not None:
        root |= _record(ids[1:])
    servers = {"redis": wishes.redis, "postgresql": wishes.postgresql}
    return {
        "$schema": f"./{SCHEMA}",
        "//": "Keys that begin with // are remarks. Check with `siwat mpta validate`, look with `siwat mpta "
        "inspect`, make the archive with `siwat mpta pack`. All keys: pympta.md.",
        **_servers({kind: server for kind, server in servers.items() if server is not None}),
        "pipeline": root,
    }


def model_ids(files: Sequence[str]) -> list[str]:
    """A distinct name for each model file, made of its own, that templates can refer to."""
    found: list[str] = []
    for file in files:
        stem = re.sub(r"\W+", "_", re.sub(r"\.[A-Za-z]+$", "", file.rpartition("/")[2])).strip("_") or "model"
        found.append(_distinct(stem, found))
    return found


def distinct_names(names: Sequence[str]) -> list[str]:
    """File names, those that were there already with a number."""
    found: list[str] = []
    for name in names:
        stem, dot, suffix = name.partition(".")
        found.append(_distinct(stem, found, dot + suffix))
    return found


def _distinct(name: str, taken: Collection[str], suffix: str = "") -> str:
    number, found = 1, name + suffix
    while found in taken:
        number += 1
        found = f"{name}_{number}{suffix}"
    return found


def _servers(servers: dict[str, Any]) -> dict[str, Any]:
    if not servers:
        return {}
    return {
        "// servers": 'Where actions go: "embedded" is the worker\'s own, else {"host": …, "port": …}.',
        **servers,
    }


def _branch(branch: Branch, model_id: str) -> dict[str, Any]:
    said = "classifies" if branch.facts.task == "classify" else "finds"
    return {
        "//": f"Looks at the crop of {branch.crop_class} and {said}: "
        f"{', '.join(list(branch.facts.names.values())[:20])}. Templates read it as {{{model_id}.class}}.",
        "modelId": model_id,
        "modelFile": branch.file,
        "minConfidence": CONFIDENCE,
        "triggerClasses": [branch.crop_class],
        "crop": True,
        "cropClass": branch.crop_class,
        "parallel": True,
    }


def _redis_actions(region: str) -> dict[str, Any]:
    return {
        "// actions": "In order, when the root found something: an image for ten minutes, then a message "
        "that names it. {…} are placeholders.",
        "actions": [
            {
                "type": "redis_save_image",
                "region": region,
                "key": "inference:{display_id}:{timestamp}:{session_id}:{filename}",
                "expire_seconds": 600,
            },
            {
                "type": "redis_publish",
                "channel": "detections",
                "message": '{"class": "{class}", "confidence": {confidence}, "image_key": "{image_key}"}',
            },
        ],
    }


def _record(branch_ids: Sequence[str]) -> dict[str, Any]:
    """The record of what the branches say, as far as the worker's own table has columns for it."""
    said = {model_id: default_result_name(model_id) or "class" for model_id in branch_ids}
    columns = {COLUMNS[name]: model_id for model_id, name in said.items() if name in COLUMNS}
    other = [model_id for model_id in said if model_id not in columns.values()]
    note = "After the branches: one row per visit."
    if other:
        shown = ", ".join(f"{{{model_id}.{said[model_id]}}}" for model_id in other)
        note += f" {shown} can be written too, into columns that you make."
    if not columns:
        return {"// parallelActions": note} if other else {}
    fields = {column: f"{{{model_id}.{said[model_id]}}}" for column, model_id in columns.items()}
    return {
        "// parallelActions": note,
        "parallelActions": [
            {
                "type": "postgresql_update_combined",
                "table": "car_frontal_info",
                "key_field": "session_id",
                "key_value": "{session_id}",
                "waitForBranches": list(columns.values()),
                "fields": fields | {"updated_at": "NOW()"},
            }
        ],
    }


def redis_server(text: str) -> Any:
    """What stands under `redis` for `embedded`, `none`, a host, or redis://user:password@host:port/db.

    Raises ValueError that says what is allowed.
    """
    if text in ("embedded", "none"):
        return None if text == "none" else text
    parts = _address(text, "redis", "redis://[user[:password]@]host[:port][/db]")
    number = parts.path.strip("/") or "0"
    if not number.isdecimal():
        # Not what was typed: a password with a slash in it would be part of that.
        raise ValueError("the Redis database is a number: redis://[user[:password]@]host[:port][/0]")
    found: dict[str, Any] = {"host": parts.hostname, "port": parts.port or REDIS_PORT, "db": int(number)}
    return found | {key: value for key, value in _login(parts).items() if value}


def postgresql_server(text: str) -> Any:
    """What stands under `postgresql` for `embedded`, `none`, or postgresql://user:password@host/database.

    Raises ValueError that says what is allowed.
    """
    if text in ("embedded", "none"):
        return None if text == "none" else text
    form = "postgresql://user[:password]@host[:port]/database"
    parts = _address(text, "postgresql", form)
    login, database = _login(parts), unquote(parts.path.strip("/"))
    if not login["username"] or not database:
        raise ValueError(f"user or database is missing: {form}")
    found = {"host": parts.hostname, "port": parts.port or POSTGRESQL_PORT, "database": database}
    return found | {"username": login["username"], "password": login["password"] or ""}


def _address(text: str, scheme: str, form: str) -> Any:
    parts = urlsplit(text if "://" in text else f"{scheme}://{text}")
    try:
        fits = parts.scheme == scheme and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"no address of a server: embedded, none, or {form}")
    return parts


def _login(parts: Any) -> dict[str, str | None]:
    user, password = parts.username, parts.password
    return {
        "username": unquote(user) if user else None,
        "password": unquote(password) if password else None,
    }
