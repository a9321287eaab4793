"""Who may change the outbox's file: one process at a time."""

import time
from io import TextIOWrapper
from pathlib import Path

from siwatsystem.errors import InvalidSetting


class InUse(InvalidSetting):
    """Another process uses this outbox."""


def hold(path: Path, wait_sec: float = 0.0) -> TextIOWrapper:
    """Keep other processes off the file until the result is closed; the kernel lets go of it if this one
    is killed. Raises InUse if another holds it for `wait_sec`."""
    import fcntl  # Windows has none, and runs commands that need no outbox

    path.parent.mkdir(parents=True, exist_ok=True)
    guard = path.with_name(path.name + ".lock").open("w")
    deadline = time.monotonic() + wait_sec
    while True:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                guard.close()
                raise InUse(f"{path}: another process uses this outbox") from None
            time.sleep(0.05)
        else:
            return guard
