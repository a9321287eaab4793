"""How models fared in a process of their own: remembered on the disk, so that a restart costs nothing.

What passed has passed for as long as nothing changes that the key names. What failed is left alone for
a while, longer each time, and then tried again: a machine that was short of memory once must not
condemn a model for ever, and one that crashes must not be tried for every subscription.
"""

import contextlib
import hashlib
import json
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siwatsystem.errors import ModelInvalid

log = logging.getLogger(__name__)

MOST_KEPT = 1000
FIRST_REST_SEC = 600.0
LONGEST_REST_SEC = 24 * 3600.0
_FORMAT = "1"
"""Part of every key: another version of the worker neither reads nor removes what this one keeps."""


class LeftAlone(ModelInvalid):
    """It failed lately and is not tried again yet."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What was said, how often it failed so far, and when (seconds since 1970) it failed last."""

    message: str
    failures: int
    at: float

    def rest(self, now: float) -> float:
        """Seconds for which it is still left alone; a clock that was set back ends that."""
        rest = min(FIRST_REST_SEC * 2 ** min(self.failures - 1, 20), LONGEST_REST_SEC)
        return rest - (now - self.at) if now >= self.at else 0.0


class Verdicts:
    """The verdicts in a folder, one small file each; those beyond `MOST_KEPT` go, oldest first.

    Several processes may use one folder. A key names all that a verdict depends on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def passed(self, key: Sequence[str]) -> bool:
        """Whether it passed; False where it has to be tried. Raises LeftAlone where it failed lately."""
        values = self._read(key)
        failure = _failure(values)
        if failure is not None and (rest := failure.rest(time.time())) > 0:
            raise LeftAlone(f"{failure.message}; it is not tried again for {max(1, round(rest))} s")
        return failure is None and values.get("passed") is True

    def keep_passed(self, key: Sequence[str]) -> None:
        self._write(key, {"passed": True})

    def keep_failed(self, key: Sequence[str], message: str) -> None:
        before = _failure(self._read(key))
        failures = 1 if before is None else before.failures + 1
        self._write(key, asdict(_Failure(message, failures, time.time())))

    def _read(self, key: Sequence[str]) -> dict[str, Any]:
        try:
            values = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}  # pyright: ignore[reportUnknownVariableType]

    def _write(self, key: Sequence[str], values: dict[str, Any]) -> None:
        """A disk that takes nothing is logged: the model is tried again the next time."""
        path = self._path(key)
        temporary = path.with_name(f".new-{uuid.uuid4().hex}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
            temporary.replace(path)
            self._clear()
        except OSError as error:
            log.warning("how a model fared could not be kept: %s", error)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _path(self, key: Sequence[str]) -> Path:
        text = "\n".join((_FORMAT, *key))
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def _clear(self) -> None:
        kept: list[tuple[float, Path]] = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # another process clears it too
                kept.append((path.stat().st_mtime, path))
        for _, path in sorted(kept, reverse=True)[MOST_KEPT:]:
            path.unlink(missing_ok=True)


def _failure(values: dict[str, Any]) -> _Failure | None:
    try:
        return _Failure(str(values["message"]), max(1, int(values["failures"])), float(values["at"]))
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
