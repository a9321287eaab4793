"""Folders that last as long as they are used, also where a process dies without saying so."""

import fcntl
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_GUARD = "guard.lock"
_HELD = "held.lock"


@contextmanager
def scratch(parent: Path) -> Generator[Path]:
    """A new, empty folder below `parent`, removed at the end. Raises OSError.

    Whatever else is a folder there and held by no process is removed first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / _GUARD).open("a") as guard:
        # Nobody may clear a folder between its making and its lock.
        fcntl.flock(guard, fcntl.LOCK_EX)
        _clear(parent)
        folder = Path(tempfile.mkdtemp(prefix="open-", dir=parent))
        held = (folder / _HELD).open("a")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        inside = folder / "content"
        inside.mkdir()
        yield inside
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.close()


def _clear(parent: Path) -> None:
    for folder in parent.iterdir():
        if folder.is_dir() and not _is_held(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    """Locks end with the process that holds them, process ids come again."""
    try:
        with (folder / _HELD).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
