"""Packs the examples: `python -m examples.pack`.

An example's `archive/` holds what its archive is packed of. The car detector is the demo's; it is taken out
of demo.mpta, from where it is missing in `archive/`, so that no weights lie in the repository twice.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.pack import ARCHIVE as DEMO
from siwatsystem.packing import pack

HERE = Path(__file__).parent
NAMES = ("plates", "counter")


def source_of(name: str) -> Path:
    """The folder that an example's archive is packed of."""
    return HERE / name / "archive"


def archive_of(name: str) -> Path:
    return HERE / name / f"{name}.mpta"


def model_files(node: dict[str, Any]) -> Iterator[str]:
    """The model files that a node and its branches name."""
    yield node["modelFile"]
    if "reidModel" in node.get("tracking", {}):
        yield node["tracking"]["reidModel"]
    for branch in node.get("branches", ()):
        yield from model_files(branch)


def complete(folder: Path) -> Path:
    """Puts the models of the demo that `folder` lacks into it. Raises KeyError for one of neither."""
    root = json.loads((folder / "pipeline.json").read_bytes())["pipeline"]
    for name in set(model_files(root)):
        if not (folder / name).exists():
            with zipfile.ZipFile(DEMO) as demo:
                (folder / name).write_bytes(demo.read(name))
    return folder


def main() -> None:
    for name in NAMES:
        target = pack(complete(source_of(name)), archive_of(name))
        print(f"{target} {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
