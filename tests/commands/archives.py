"""Folders and archives for the commands' tests: the demo's, changed or damaged."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from siwatsystem import archive
from siwatsystem.__main__ import app
from siwatsystem.config import ModelSettings

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "demo" / "demo.mpta"


def unpacked(into: Path) -> Path:
    """The demo's archive as a folder."""
    return archive.extract(DEMO, into, ModelSettings())


def small(into: Path, pipeline: Any, files: Mapping[str, str] | None = None) -> Path:
    """A folder with `pipeline` and a file of junk as its model."""
    into.mkdir()
    for name, text in (files or {"a.pt": "junk"}).items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(text)
    (into / "pipeline.json").write_text(pipeline if isinstance(pipeline, str) else json.dumps(pipeline))
    return into


def rewrite(folder: Path, **changes: Any) -> Path:
    """The folder with keys of its root node changed."""
    file = folder / "pipeline.json"
    data = json.loads(file.read_text())
    data["pipeline"] |= changes
    file.write_text(json.dumps(data))
    return folder


def run(*arguments: str | Path, stdin: str = "") -> Result:
    """The command in this process, for what is the same in one of its own."""
    return CliRunner().invoke(app, ["mpta", *map(str, arguments)], input=stdin)


def mpta(*arguments: str | Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own; `before` are lines of Python that it runs first."""
    code = "\n".join([*before, "from siwatsystem.__main__ import main", "main()"])
    return subprocess.run(
        [sys.executable, "-c", code, "mpta", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
    )
