"""Files that one at a time may have, also among processes, and that are on the disk before they are named."""

import fcntl
import os
from pathlib import Path


def locked(path: Path, access: int = os.O_RDWR) -> int:
    """The open file at `path`, made where there is none; it is this caller's until it is closed.

    Raises BlockingIOError while somebody else has it, OSError.
    """
    while True:
        file = os.open(path, access | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed or renamed it in between, and then it keeps nobody out.
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def bring_to_disk(path: Path) -> None:
    """Where a disk is full, some file systems tell only now; and a name that is there after a power failure
    must not stand for what is not. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
