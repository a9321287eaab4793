"""`docs/messages.d.ts`: every message of the worker's socket as TypeScript types, from the same models."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from siwatsystem.asyncapi import FROM_WORKER, TO_WORKER, document
from siwatsystem.messages import Message

HEADER = """// Messages of the detector worker's WebSocket, generated from the models by `make docs`.
// JSON text, one message a frame; what they mean is in worker.md. Ignore keys and types that are not here:
// a newer worker may send them.

"""
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
WIDTH = 106
ANY = 2**31
"""A limit as wide as this says nothing."""


def definitions() -> str:
    """The whole file."""
    schemas: dict[str, Any] = document("")["components"]["schemas"]
    parts = [_interface(name, schema) for name, schema in schemas.items()]
    parts.append(_union("ToWorker", "What a backend sends.", TO_WORKER))
    parts.append(_union("FromWorker", "What a worker sends; tell them apart by `type`.", FROM_WORKER))
    return HEADER + "\n".join(parts)


def _interface(name: str, schema: dict[str, Any]) -> str:
    required: Sequence[str] = schema.get("required", ())
    lines = [*_comment([schema.get("description", "")], ""), f"export interface {name} {{"]
    for key, inner in schema["properties"].items():
        text = "" if "enum" in inner else inner.get("description", "")
        lines += _comment([text, _limits(inner)], "  ")
        lines.append(f"  {key}{'' if key in required else '?'}: {_type(inner)};".replace(": \n", ":\n"))
    return "\n".join([*lines, "}", ""])


def _union(name: str, text: str, models: Iterable[type[Message]]) -> str:
    members = " | ".join(model.__name__ for model in models)
    return "\n".join([*_comment([text], ""), f"export type {name} = {members};", ""])


def _type(schema: dict[str, Any]) -> str:
    """The type of a value. Raises ValueError for a schema of a form that the messages did not have yet."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return "".join(f"\n    | {json.dumps(value)}" for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(inner) for inner in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array":
        inner = _type(schema["items"])
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if kind == "object" and "properties" not in schema:
        values: Any = schema.get("additionalProperties")
        return f"Record<string, {_type(values) if isinstance(values, dict) else 'unknown'}>"
    if kind in PLAIN:
        return PLAIN[kind]
    raise ValueError(f"no TypeScript for {json.dumps(schema)}")


def _limits(schema: dict[str, Any]) -> str:
    """What the type does not say: that a number is whole, and what is allowed."""
    parts: list[dict[str, Any]] = [schema, *schema.get("anyOf", ())]
    found = ["whole number"] if any(part.get("type") == "integer" for part in parts) else []
    for part in parts:
        found += _range(part.get("minimum"), part.get("maximum"), "")
        found += _range(part.get("minLength"), part.get("maxLength"), " characters")
    return f"({', '.join(found)})" if found else ""


def _range(least: float | None, most: float | None, unit: str) -> list[str]:
    if least is not None and most is not None:
        return [f"{least:g}–{most:.12g}{unit}"]
    if most is not None:
        return [f"at most {most:.12g}{unit}"]
    return [f"at least {least:g}{unit}"] if least is not None and abs(least) < ANY else []


def _comment(texts: Iterable[str], indent: str) -> list[str]:
    """A doc comment, on one line where it fits; nothing where there is nothing to say."""
    text = " ".join(part for part in texts if part).replace("*/", "* /")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    if not paragraphs:
        return []
    if len(paragraphs) == 1 and len(indent) + len(paragraphs[0]) + 7 <= WIDTH:
        return [f"{indent}/** {paragraphs[0]} */"]
    lines: list[str] = []
    for paragraph in paragraphs:
        wrapped = textwrap.wrap(paragraph, WIDTH - len(indent) - 3, break_long_words=False)
        lines += [*([f"{indent} *"] if lines else []), *(f"{indent} * {line}" for line in wrapped)]
    return [f"{indent}/**", *lines, f"{indent} */"]
