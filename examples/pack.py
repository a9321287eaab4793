"""Packs the examples: `python -m examples.pack`.

An example's `archive/` holds what its archive is packed of. The car detector is the demo's; it is taken out
of demo.mpta, from where it is missing in `archive/`, so that no weights lie in the repository twice.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from demo.pack import ARCHIVE as DEMO
from siwatsystem.packing import pack
from siwatsystem.pipeline.spec import parse

HERE = Path(__file__).parent
NAMES = ("plates", "counter")


def source_of(name: str) -> Path:
    """The folder that an example's archive is packed of."""
    return HERE / name / "archive"


def archive_of(name: str) -> Path:
    return HERE / name / f"{name}.mpta"


def complete(folder: Path) -> Path:
    """Puts the models of the demo that `folder` lacks into it. Raises KeyError for one of neither."""
    for name in parse(json.loads((folder / "pipeline.json").read_bytes())).files:
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
