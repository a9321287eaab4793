"""What attempts at files left in a folder of results, when nobody came back to them.

An attempt that was killed, or interrupted with an app, leaves its unfinished lines for the next one at that
file. Where its request was cancelled meanwhile there is none, and nobody tells the app: age decides.
A live camera's lines are results, however old: they get their name when it begins again.
"""

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from siwatsystem.analysis.locks import locked
from siwatsystem.analysis.rolling import STAMPED

log = logging.getLogger(__name__)

KEPT_SEC = 7 * 86400.0
_LINES = ".jsonl.part"
_RESUME = ".jsonl.resume"
_ENDINGS = (_LINES, _RESUME, f"{_RESUME}.part", ".annotated.part.mp4", ".annotated.part.jpg")
"""Lines first: the others belong to them, and stay as long as they do."""
_LIVE = re.compile(rf"\..+{STAMPED}\.part")


def sweep(folder: Path, kept_sec: float = KEPT_SEC) -> int:
    """Remove what nobody has written to for so long, nor does now; how many files. Never raises."""
    removed = 0
    with suppress(OSError):
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith("."))
        for ending in _ENDINGS:
            for name in names:
                if name.endswith(ending):
                    removed += _removed(folder / name, kept_sec)
    if removed:
        log.info("%s: %d files of attempts that nobody came back to were removed", folder, removed)
    return removed


def _removed(path: Path, kept_sec: float) -> bool:
    with suppress(OSError):
        if time.time() - path.stat().st_mtime < kept_sec:
            return False
        ending = next(ending for ending in _ENDINGS if path.name.endswith(ending))
        if _is_live(path):
            return False
        if ending != _LINES and path.with_name(path.name.removesuffix(ending) + _LINES).exists():
            return False
        file = locked(path) if ending == _LINES else None
        try:
            path.unlink()
        finally:
            if file is not None:
                os.close(file)
        return True
    return False


def _is_live(path: Path) -> bool:
    """Whether it holds a live camera's lines. A file may be called like them, but then there is a note beside
    its lines, which says what they are of."""
    note = path.with_name(path.name.removesuffix(_LINES) + _RESUME)
    return _LIVE.fullmatch(path.name) is not None and not note.exists()
