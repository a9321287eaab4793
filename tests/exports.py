"""Exports and trials of models, shared by all that a test run starts: done once, found by the others."""

import atexit
import functools
import os
import tempfile
from pathlib import Path

VARIABLE = "TESTS_EXPORTS"
"""Names the folder where a run has several processes."""


@functools.cache
def exports() -> Path:
    """The folder, kept below `models/.runtime` by the product."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    folder = tempfile.TemporaryDirectory(prefix="siwat-exports-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def share_exports(data: Path) -> Path:
    """Have whoever has its data in `data` find them there. A second time is nothing. Not for tests that
    damage or count what is kept."""
    (data / "models").mkdir(parents=True, exist_ok=True)
    cache = data / "models" / ".runtime"
    if not cache.is_symlink():
        cache.symlink_to(exports(), target_is_directory=True)
    return data
