"""JSON text from strangers: read within bounds of nesting."""

from typing import Any

import orjson

from siwatsystem.errors import InvalidJson, TooDeep

MAX_BRACKETS = 64 * 1024
"""Of one text. Nothing that is kept has so many, and reading more would hold up other clients."""


def loads(text: str, max_depth: int = 32) -> object:
    """The value. Raises InvalidJson, or TooDeep where it nests deeper than `max_depth` or is too branched."""
    brackets = text.count("[") + text.count("{")
    if brackets > MAX_BRACKETS:
        raise TooDeep(f"nested deeper than {max_depth}, or more than {MAX_BRACKETS} arrays and objects")
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if _is_deep(error, max_depth):
            raise TooDeep(f"nested deeper than {max_depth}") from None
        raise InvalidJson(f"not JSON: {error}") from None
    if brackets > max_depth and _deeper(value, max_depth):
        raise TooDeep(f"nested deeper than {max_depth}")
    return value


def _is_deep(error: orjson.JSONDecodeError, most: int) -> bool:
    """Whether the parser gave up because of nesting. It has a limit of its own, far above ours; and it has
    room for as many values as valid JSON of that length may hold, which arrays that nothing closes use up."""
    if "depth limit" in error.msg:
        return True
    read = error.doc[: error.pos]
    opened = read.count("[") + read.count("{") - read.count("]") - read.count("}")
    return "allocate memory" in error.msg and opened > most


def _deeper(value: object, most: int) -> bool:
    """Whether arrays and objects nest deeper than `most`; looked at level by level, so that none recurses."""
    level: list[Any] = [value]
    for _ in range(most):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
