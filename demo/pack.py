"""Packs pipeline.json and the trained weights into demo.mpta: `python -m demo.pack`.

The same inputs give the same bytes: entries are in a fixed order and carry a fixed time. Weights that were
not trained here are taken over from the archive that is being replaced: a changed pipeline.json can be packed
from a fresh checkout.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PIPELINE = HERE / "pipeline.json"
WEIGHTS = HERE / "weights"
ARCHIVE = HERE / "demo.mpta"
# The earliest moment that a zip can express.
EPOCH = (1980, 1, 1, 0, 0, 0)
READABLE = 0o100644 << 16


def model_files(node: dict[str, Any]) -> Iterator[str]:
    """The model files that a node and its branches name, root first."""
    yield node["modelFile"]
    for branch in node.get("branches", ()):
        yield from model_files(branch)


def pack(target: Path = ARCHIVE, pipeline: Path = PIPELINE, weights: Path = WEIGHTS) -> Path:
    """Writes the archive; every model that the pipeline names must lie in `weights` or the old archive."""
    document = pipeline.read_bytes()
    names = dict.fromkeys(model_files(json.loads(document)["pipeline"]))
    models = {name: _weights(name, weights, target) for name in names}
    with zipfile.ZipFile(target, "w") as archive:
        _add(archive, "pipeline.json", document)
        for name, data in models.items():
            _add(archive, name, data)
    return target


def _weights(name: str, weights: Path, old: Path) -> bytes:
    if not (weights / name).exists() and old.exists():
        with zipfile.ZipFile(old) as archive:
            return archive.read(name)
    return (weights / name).read_bytes()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = READABLE
    archive.writestr(entry, data, compresslevel=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=ARCHIVE)
    target = pack(parser.parse_args().target)
    print(f"{target} {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
