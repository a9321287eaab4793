"""A trial whose runtime dies as native code does: `python -m tests.runtime.crashing`."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from siwatsystem.runtime import loaders, trial_run

DEATHS = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGABRT": os.abort,
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
}


def _open(_runtime: str, file: Path, *_: object) -> object:
    DEATHS[file.read_text()]()
    return object()


if __name__ == "__main__":
    loaders.open_model = trial_run.open_model = _open  # type: ignore[assignment]
    sys.exit(trial_run.main(sys.argv[1:]))
