"""The folder of exported models: one maker per model at a time, and room for more.

An export is a folder; beside it lies the lock of who makes or removes it. Several processes may use
the same folder.
"""

import contextlib
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from siwatsystem.errors import ModelInvalid

logger = logging.getLogger(__name__)

IN_USE_SEC = 3600.0
"""What was handed out this recently may still be being loaded; what is half made this long is left over."""
_POLL_SEC = 0.1


@contextlib.contextmanager
def alone(kept: Path, timeout: float, stop: threading.Event) -> Generator[None]:
    """Held by one thread of one process at a time (a lock on an open file, so it ends with it).

    Raises ModelInvalid after `timeout` seconds, or once `stop` is set.
    """
    deadline = time.monotonic() + timeout
    while (file := _locked(_lock_of(kept))) is None:
        if time.monotonic() > deadline:
            raise ModelInvalid(f"another export of the same weights took over {timeout:g} s")
        if stop.wait(_POLL_SEC):
            raise ModelInvalid("closed")
    with file:
        yield


def touch(kept: Path) -> None:
    """Note that an export is used now."""
    with contextlib.suppress(OSError):
        os.utime(kept)


def evict(folder: Path, limit: int) -> None:
    """Remove exports, longest unused first, until `folder` fits `limit` bytes; and what was left over.

    Those used within the last hour stay. One that is loaded may go: its files last while they are
    open, and it is made again when it is next asked for.
    """
    old = time.time() - IN_USE_SEC
    try:
        _clear(folder, old)
        found = sorted((path.stat().st_mtime, _bytes(path), path) for path in _exports(folder))
        total = sum(size for _, size, _ in found)
        for used, size, path in found:
            if total <= limit or used > old:
                break
            if _remove(path):
                logger.info("the export %s is evicted: the cache is full", path.name)
                total -= size
    except OSError as error:
        logger.warning("the exports could not be made fewer: %s", error)


def _clear(folder: Path, old: float) -> None:
    """Remove what killed processes left, and locks without an export."""
    for path in folder.iterdir():
        if path.stat().st_mtime > old:
            continue
        if path.name.startswith((".fresh-", ".gone-")):
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".lock" and not path.with_suffix("").is_dir():
            _remove(path.with_suffix(""))


def _remove(kept: Path) -> bool:
    """Remove an export, never seen half empty, and its lock; False where it is being made."""
    file = _locked(_lock_of(kept))
    if file is None:
        return False
    with file:
        if kept.is_dir():
            gone = kept.with_name(f".gone-{uuid.uuid4().hex}")
            kept.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        _lock_of(kept).unlink(missing_ok=True)
    return True


def _locked(lock: Path) -> "IO[str] | None":
    """The lock's file, locked as long as it is open; None where somebody else has it."""
    import fcntl  # Windows has none, and runs commands that export nothing

    file = lock.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who removed an export took its lock away with it: what is locked here must be what is there.
        if _is(file, lock):
            return file
    except BlockingIOError:
        pass
    file.close()
    return None


def _is(file: "IO[str]", path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock_of(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.lock")


def _exports(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
