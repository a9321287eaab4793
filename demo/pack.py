"""Packs pipeline.json and the trained weights into demo.mpta: `python -m demo.pack`."""

from __future__ import annotations

import argparse
import json
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from siwatsystem import packing

HERE = Path(__file__).parent
PIPELINE = HERE / "pipeline.json"
WEIGHTS = HERE / "weights"
ARCHIVE = HERE / "demo.mpta"


def model_files(node: dict[str, Any]) -> Iterator[str]:
    """The model files that a node and its branches name, root first."""
    yield node["modelFile"]
    for branch in node.get("branches", ()):
        yield from model_files(branch)


def trained() -> Path:
    """The folder of the trained weights. What was not trained here comes out of the shipped archive."""
    WEIGHTS.mkdir(exist_ok=True)
    with zipfile.ZipFile(ARCHIVE) as archive:
        for name in archive.namelist():
            if name.endswith(".pt") and not (WEIGHTS / name).exists():
                temporary = WEIGHTS / f".{name}-{uuid.uuid4().hex}"
                temporary.write_bytes(archive.read(name))
                temporary.replace(WEIGHTS / name)
    return WEIGHTS


def pack(target: Path = ARCHIVE, pipeline: Path = PIPELINE, weights: Path | None = None) -> Path:
    """Write the archive; every model that the pipeline names must lie in `weights` (default: `trained`)."""
    weights = trained() if weights is None else weights
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(pipeline, folder / "pipeline.json")
        for model in model_files(json.loads(pipeline.read_text(encoding="utf-8"))["pipeline"]):
            shutil.copy(weights / model, folder / model)
        return packing.pack(folder, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=ARCHIVE)
    target = pack(parser.parse_args().target)
    print(f"{target} {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
