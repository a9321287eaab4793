"""The pages of the reference, as Markdown, from the models that the code works with."""

import json
from collections.abc import Iterator
from typing import Any

from siwatsystem import __version__, asyncapi
from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.deepstream import asyncapi as control_asyncapi
from siwatsystem.deepstream.application import create_app as create_control_app
from siwatsystem.pipeline.node import PipelineSpec

MADE = "Generated from the code when this site is built.\n\n"


def worker_messages() -> str:
    """Every message of the worker's WebSocket."""
    meant = "In order and by example: [worker.md](../../worker.md). As AsyncAPI: `/asyncapi.json`.\n\n"
    return f"# Messages of the worker\n\n{MADE}{meant}{_messages(asyncapi.document(__version__))}"


def control_messages() -> str:
    """Every message of the apps' WebSocket."""
    meant = (
        "In order and by example: [deepstream.md](../../deepstream.md). As AsyncAPI: `/asyncapi.json`.\n\n"
    )
    return f"# Messages of apps\n\n{MADE}{meant}{_messages(control_asyncapi.document(__version__))}"


def archive() -> str:
    """Every key of pipeline.json."""
    schema = PipelineSpec.model_json_schema(by_alias=True)
    parts = schema["$defs"]
    text = f"# Keys of pipeline.json\n\n{MADE}With explanations: [pympta.md](../../pympta.md). For editors: "
    text += f"[pipeline.schema.json](../pipeline.schema.json).\n\n## Top\n\n{_table(schema, parts)}"
    return text + _bodies(parts)


def worker_rest() -> str:
    """Every route of the worker."""
    return f"# Routes of the worker\n\n{MADE}{_routes(create_app(Settings()).openapi())}"


def control_rest() -> str:
    """Every route of the control server."""
    meant = "By example: [deepstream.md](../../deepstream.md).\n\n"
    routes = _routes(create_control_app(Settings()).openapi())
    return f"# Routes of the control server\n\n{MADE}{meant}{routes}"


def _messages(document: dict[str, Any]) -> str:
    schemas, described = document["components"]["schemas"], document["components"]["messages"]
    text = ""
    for channel in document["channels"].values():
        for name in channel["messages"]:
            message = described[name]
            payload = _resolved(message["payload"], schemas)
            text += f"## {name}\n\n{_plain(payload.get('description') or message['summary'])}\n\n"
            text += _table(payload, schemas)
            for example in message.get("examples", ()):
                text += f"```json\n{json.dumps(example['payload'], ensure_ascii=False)}\n```\n\n"
    return text


def _routes(document: dict[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    routes = [
        (f"{method.upper()} {path}", route)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    ]
    return "".join(_route(title, route, schemas) for title, route in routes) + _bodies(schemas)


def _route(title: str, route: dict[str, Any], schemas: dict[str, Any]) -> str:
    text = f"## {title}\n\n{_plain(route.get('description') or route['summary'])}\n\n"
    text += "".join(_parameters(route))
    body = route.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        text += f"Body: {_type(body['schema'])}\n\n"
    text += "| status | |\n|---|---|\n"
    for status, answer in route["responses"].items():
        text += f"| {status} | {_cell(answer['description'])}{_kind(answer)} |\n"
    return f"{text}\n"


def _bodies(schemas: dict[str, Any]) -> str:
    """All objects that have keys, by name."""
    named = [(name, schema) for name, schema in sorted(schemas.items()) if schema.get("properties")]
    return "".join(
        f"## {name}\n\n{_plain(schema.get('description', ''))}\n\n{_table(schema, schemas)}"
        for name, schema in named
    )


def _parameters(route: dict[str, Any]) -> Iterator[str]:
    parameters = route.get("parameters", [])
    if not parameters:
        return
    yield "| parameter | in | type | |\n|---|---|---|---|\n"
    for one in parameters:
        words = _cell(one.get("description", ""))
        yield f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {words} |\n"
    yield "\n"


def _kind(answer: dict[str, Any]) -> str:
    kinds: list[str] = []
    for media, content in answer.get("content", {}).items():
        kind = _type(content.get("schema", {}))
        kinds.append(f"{kind}" if media == "application/json" and kind != "any" else f"`{media}`")
    return f": {', '.join(kinds)}" if kinds else ""


def _table(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    rows = list(_rows(schema, schemas, ""))
    return "| key | type | | |\n|---|---|---|---|\n" + "".join(rows) + "\n" if rows else ""


def _rows(schema: dict[str, Any], schemas: dict[str, Any], path: str) -> Iterator[str]:
    required = schema.get("required", [])
    for name, part in schema.get("properties", {}).items():
        need = "required" if name in required else _default(part)
        yield f"| `{path}{name}` | {_type(part)} | {need} | {_cell(part.get('description', ''))} |\n"
        inner = _resolved(part, schemas)
        # Bodies of messages are named nowhere else.
        if inner is not part and inner.get("properties") and name in ("payload", "data") and not path:
            yield from _rows(inner, schemas, f"{name}.")


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def _default(part: dict[str, Any]) -> str:
    return f"`{json.dumps(part['default'], ensure_ascii=False)}`" if part.get("default") is not None else ""


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[word]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        inner = schema.get("items") or {}
        return f"list of {_type(inner)}" if inner else "list"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[word]:g}" for word, sign in signs.items() if word in schema]
    return " ".join([str(schema.get("type", "any")), ", ".join(limits)]).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str) -> str:
    """Docstrings as they are, but for what Markdown would take for code by its indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
