"""What an attempt that came to no end has left of a file: its lines so far, and what they are of.

Beside the unfinished lines lies a small file that says which recording, pipeline and sampling they were
made from; where one of these has changed, the lines are worth nothing.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siwatsystem.analysis.lines import unfinished

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Begun:
    """How far it had come: `frame` is the number of the next one, `kept` the bytes of the lines before."""

    frame: int
    kept: int
    frames: int
    detections: int
    began_at: float


def identity(source: Path, pipeline: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """What lines are made from. Raises OSError where `source` is gone."""
    found = source.stat()
    return {
        "source": str(source),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "pipeline": pipeline,
        "sampling": dict(sampling),
    }


def note(lines: Path, of: Mapping[str, Any], began_at: float) -> None:
    """Say what the lines that are about to be written are of. Raises OSError; what was said before stays."""
    path = _note(lines)
    partial = path.with_name(f"{path.name}.part")
    text = json.dumps({"version": _VERSION, "of": of, "began_at": began_at})
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def begun(lines: Path, of: Mapping[str, Any]) -> Begun | None:
    """What is left of an attempt at the same; None where there is nothing to go on from."""
    try:
        said: Any = json.loads(_note(lines).read_text(encoding="utf-8"))
        if said["version"] != _VERSION or said["of"] != of:
            return None
        return counted(unfinished(lines), float(said["began_at"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(lines: Path) -> None:
    """The file is done, or given up."""
    with suppress(OSError):
        _note(lines).unlink(missing_ok=True)


def _note(lines: Path) -> Path:
    return lines.with_name(f".{lines.name}.resume")


def counted(path: Path, began_at: float) -> Begun | None:
    """Up to the first line that is not whole: a machine that lost its power may leave anything there."""
    kept = frames = detections = 0
    last = -1
    with path.open("rb") as file:
        for text in file:
            try:
                line: Any = json.loads(text) if text.endswith(b"\n") else None
                if line is None or line["frame"] <= last:
                    break
                detections += len(line["events"])
                last = int(line["frame"])
            except (ValueError, TypeError, KeyError):
                break
            frames += 1
            kept += len(text)
    return Begun(last + 1, kept, frames, detections, began_at) if frames else None
