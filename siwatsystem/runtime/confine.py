"""The limits of a process that opens what others made; called by that process, first of all.

What it has to say is in `result.json` of its folder: nothing, or the error that ended it.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

RESULT = "result.json"
UNLIMITED = 0
PARENT = "CONFINED_BY"
"""The variable that holds the process id of whoever started this one."""
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_NETWORK_EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"}


def confine(memory_mb: int, niceness: int = 10, file_mb: int = UNLIMITED) -> None:
    """Give this process its limits: memory, size of each file, no core files, no network, gone with its
    parent.

    With `UNLIMITED` memory whoever started it has to watch that.
    """
    import resource  # Windows has none, and runs commands that need no limits

    if memory_mb != UNLIMITED:
        _limit(resource.RLIMIT_AS, memory_mb)
    if file_mb != UNLIMITED:
        # Python ignores the signal that comes with it: what writes more gets an error.
        _limit(resource.RLIMIT_FSIZE, file_mb)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(niceness)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Who ended while this process was still starting sends no signal any more.
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        raise SystemExit(f"process {os.environ[PARENT]}, which started this one, is gone")
    # A network namespace of its own needs a privilege that a container often lacks; the hook
    # below then still stops whatever goes through Python.
    libc.unshare(_CLONE_NEWNET)
    sys.addaudithook(_refuse_network)


def _limit(kind: int, megabytes: int) -> None:
    """Not above what this process was given: only root may raise that."""
    import resource

    limit, (_, most) = megabytes * 1024 * 1024, resource.getrlimit(kind)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (limit, limit))


def say(folder: Path, result: dict[str, str]) -> int:
    """Leave `result` for whoever started this process; gives the status to end with."""
    with contextlib.suppress(OSError):
        (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 1 if result else 0


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _NETWORK_EVENTS:
        raise PermissionError(f"{event}: an export has no network")
