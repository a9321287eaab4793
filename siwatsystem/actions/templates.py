"""`{name}` and `{modelId.field}` in texts of an archive, replaced by plain values.

Every other brace stays as it is, so JSON can be written plainly. There are no format
specifications and no attribute access: a name is looked up, nothing is evaluated.
"""

import json as _json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import cast

# One run of name characters between two braces: linear whatever the text holds.
_CANDIDATE = re.compile(r"\{([\w.-]+)\}")
# Strings of a JSON text, so that a placeholder is known to stand inside or outside of one.
_TOKEN = re.compile(r'\\.|"|\{[\w.-]+\}', re.DOTALL)
# The end of a string that is no key of an object.
_VALUE_END = re.compile(r'"(?!\s*:)')


class Unresolved(LookupError):
    """A placeholder names something that the context does not hold."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{{{name}}} has no value here")
        self.name = name


def placeholders(text: str) -> list[str]:
    """Names that stand as `{name}` or `{modelId.field}` in `text`, in order, each once."""
    names = (match.group(1) for match in _CANDIDATE.finditer(text))
    return list(dict.fromkeys(name for name in names if _is_name(name)))


def unknown(text: str, known: Collection[str]) -> list[str]:
    """Placeholders of `text` that are not among `known` (plain names and `modelId.field`s)."""
    return [name for name in placeholders(text) if name not in known]


def render(text: str, context: Mapping[str, object], *, json: bool = False) -> str:
    """`text` with its placeholders replaced; raises Unresolved for one without a value.

    `context` holds plain names, and branch results either as `"modelId.field"` or as a mapping
    under `modelId` (split at the last dot). None renders as nothing. With `json` the text is meant
    as JSON: inside quotes values are escaped, outside they become JSON values, and None becomes
    `null` (together with the quotes when the placeholder stands alone between them).
    """
    if json:
        return _render_json(text, context)

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        return plain(lookup(name, context)) if _is_name(name) else match.group()

    return _CANDIDATE.sub(replace, text)


def lookup(name: str, context: Mapping[str, object]) -> object:
    """The value of a placeholder's name. Raises Unresolved."""
    if name in context:
        return context[name]
    owner, dot, field = name.rpartition(".")
    inner = context.get(owner) if dot else None
    if isinstance(inner, Mapping) and field in inner:
        return inner[field]  # pyright: ignore[reportUnknownVariableType]
    raise Unresolved(name)


def plain(value: object) -> str:
    """A value as text: nothing for None, JSON for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | dict):
        return _json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _render_json(text: str, context: Mapping[str, object]) -> str:
    parts: list[str] = []
    end = 0
    opened: int | None = None
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if match.start() < end or piece.startswith("\\"):
            continue
        if piece == '"':
            opened = match.end() if opened is None else None
            continue
        if not _is_name(piece[1:-1]):
            continue
        value = lookup(piece[1:-1], context)
        before, after = text[end : match.start()], match.end()
        if opened is None:
            parts += [before, _json_value(value)]
        elif value is None and opened == match.start() and _VALUE_END.match(text, after):
            parts += [before[:-1], "null"]
            after += 1
            opened = None
        else:
            parts += [before, _json.dumps(plain(value), ensure_ascii=False)[1:-1]]
        end = after
    return "".join(parts) + text[end:]


def _json_value(value: object) -> str:
    try:
        return _json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return _json.dumps(_finite(value), ensure_ascii=False, default=str)


def _finite(value: object) -> object:
    """`value` with null for the numbers that JSON has no form for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in cast(Mapping[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in cast(Sequence[object], value)]
    return value


@lru_cache(maxsize=4096)
def _is_name(text: str) -> bool:
    owner, dot, name = text.rpartition(".")
    return name.isidentifier() and (not dot or (owner[:1].isalnum() or owner[:1] == "_"))
