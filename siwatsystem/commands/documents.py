"""`siwat docs`: writes the documents that are generated from the code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from siwatsystem.config import Settings
from siwatsystem.pipeline.node import PipelineSpec

HEADER = """# Settings

Generated from `siwatsystem/config.py` by `make docs`. A setting is a key of `config.json` (or of the
file that `SIWAT_CONFIG` names) and, stronger, an environment variable.

| key | variable | allowed | default | what |
|---|---|---|---|---|
"""


def settings_page() -> str:
    """The table of every setting, as Markdown."""
    return HEADER + "".join(_rows(Settings, ()))


def _rows(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    schema = Settings.model_json_schema()
    for name, field in model.model_fields.items():
        here = (*path, name)
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _rows(section, here)
            continue
        key, variable = ".".join(here), "SIWAT_" + "__".join(here).upper()
        allowed = _allowed(_property(schema, here))
        text = (field.description or "").replace("\n", " ").replace("|", "\\|")
        yield f"| `{key}` | `{variable}` | {allowed} | {_default(field)} | {text} |\n"


def _property(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found = schema
    for name in path:
        reference = found.get("$ref") or next((part["$ref"] for part in found.get("allOf", [])), None)
        if reference is not None:
            found = schema["$defs"][reference.rpartition("/")[2]]
        found = found["properties"][name]
    return found


def _allowed(found: dict[str, Any]) -> str:
    if "anyOf" in found:
        return " or ".join(_allowed(part) for part in found["anyOf"])
    if "enum" in found:
        return ", ".join(f"`{value}`" for value in found["enum"])
    kind = {"array": "list", "null": "null"}.get(found.get("type", ""), found.get("type", "any"))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {found[word]:g}" for word, sign in signs.items() if word in found]
    return f"{kind} {', '.join(limits)}".strip()


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value)}`"


def pipeline_schema() -> str:
    """JSON Schema of pipeline.json, for editors."""
    schema = PipelineSpec.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "pipeline.json", **schema}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def write(folder: Annotated[Path, typer.Option(help="Where to write")] = Path("docs")) -> None:
    """Write docs/settings.md, docs/access.md, docs/pipeline.schema.json and docs/messages.d.ts."""
    # Both servers, which no other command needs before it knows what is asked of it.
    from siwatsystem.commands.access_page import access_page
    from siwatsystem.commands.typescript import definitions

    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "settings.md": settings_page,
        "access.md": access_page,
        "pipeline.schema.json": pipeline_schema,
        "messages.d.ts": definitions,
    }
    for name, page in pages.items():
        text = page()
        (folder / name).write_text(text, encoding="utf-8")
        print(f"wrote {folder / name}")
