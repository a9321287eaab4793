"""What stands before a TensorRT engine in an `.engine` file: four bytes of length, then JSON.

ultralytics' exporter began it, so that a file says its task, classes and input by itself.
"""

import json
from pathlib import Path
from typing import Any, cast

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.metadata import Metadata, from_ultralytics

ENGINE = "model.engine"
ENGINE_BATCH = 16
"""Most pictures in one call of an engine that is built here."""
_MAX_HEADER = 1 << 20


def header(metadata: Metadata) -> bytes:
    """What precedes an engine that is built here."""
    values = {
        "task": metadata.task,
        "names": metadata.names,
        "imgsz": list(metadata.input_size),
        "stride": metadata.stride,
        "batch": ENGINE_BATCH,
        "args": {"dynamic": True},
    }
    text = json.dumps(values).encode()
    return len(text).to_bytes(4, "little") + text


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """What stands before the engine, and how many bytes that takes. Raises ModelInvalid,
    FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(4), "little")
        text = stream.read(length) if 0 < length <= _MAX_HEADER else b""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ModelInvalid(f"{path.name}: no engine that ultralytics' exporter wrote")
    return cast(dict[str, Any], values), 4 + length


def read_metadata(path: Path) -> Metadata:
    """Task, names and input of an engine. Raises ModelInvalid, FileNotFoundError."""
    return metadata_of(read_header(path)[0])


def metadata_of(values: dict[str, Any]) -> Metadata:
    """What a header says. Raises ModelInvalid."""
    arguments = values.get("args")
    dynamic = bool(cast(dict[str, Any], arguments).get("dynamic")) if isinstance(arguments, dict) else False
    return from_ultralytics(values, dynamic)
