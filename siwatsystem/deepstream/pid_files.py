"""What was launched, one small file each beside the logs, so that the next life of the server finds it.

The core's records say which apps were wanted; these say what became of it, from when a process is there.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from siwatsystem.errors import InvalidSetting

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PidFile:
    """A local process by number, start and boot, or an exec in a container."""

    instance_id: str
    run: int
    command: str
    pid: int | None = None
    start: int = 0
    boot: str = ""
    container: str | None = None
    exec_id: str = ""
    container_pid: int | None = None


_PID_FILE = TypeAdapter(PidFile)


class PidFolder:
    """The folder of the logs. `name` tells it from those of other servers.

    Raises InvalidSetting: it cannot be written, or another server uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.name = hashlib.sha256(bytes(path.resolve())).hexdigest()[:16]
            self._lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise InvalidSetting(f"control.app_logs = {str(path)!r}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InvalidSetting(
                f"control.app_logs = {str(path)!r}: another control server uses it"
            ) from None

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def save(self, entry: PidFile) -> None:
        """Never raises: without it an app cannot be adopted, but it works."""
        target = self._of(entry.instance_id)
        try:
            fresh = target.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(entry)), encoding="utf-8")
            fresh.replace(target)
        except OSError as error:
            log.warning("%s cannot be written: %s", target, error)

    def load(self) -> list[PidFile]:
        """All that are there; what is no such file is left out."""
        found: list[PidFile] = []
        for path in sorted(self.path.glob("*.json")):
            try:
                entry = _read(path)
                if entry.instance_id != path.stem:
                    raise ValueError("it is another app's")
                found.append(entry)
            except (OSError, ValueError) as error:
                log.warning("%s is left alone: %s", path, error)
        return found

    def remove(self, instance_id: str, run: int) -> None:
        """If it is still of this run; never raises."""
        path = self._of(instance_id)
        with contextlib.suppress(OSError, ValueError):
            if _read(path).run == run:
                path.unlink()

    def _of(self, instance_id: str) -> Path:
        return self.path / f"{instance_id}.json"


def _read(path: Path) -> PidFile:
    return _PID_FILE.validate_json(path.read_bytes(), strict=True)
