"""JSON lines: one per analysed frame, with its events."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.pipeline.events import Event


def line(analysed: Analysed) -> dict[str, Any]:
    """`{frame, at, time, events: [{class, confidence, id, bbox, branches, session_id}], actions}`.

    `at`: seconds from the start; `bbox` in pixels of the frame; `actions` by kind, in their order.
    """
    moment = datetime.fromtimestamp(analysed.captured_at, UTC)
    found: dict[str, Any] = {
        "frame": analysed.frame.index,
        "at": round(analysed.frame.at, 4),
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "events": [_event(event) for event in analysed.events],
    }
    if analysed.jobs:
        found["actions"] = [job.kind for job in analysed.jobs]
    if analysed.failure is not None:
        found["failure"] = analysed.failure
    return found


class Lines:
    """Writes to `path`, under another name until `close`. Whatever happens, what is there are whole lines.

    On a full disk nothing more is written and `damage` says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self._partial = path.with_name(f".{path.name}.part")
        self._file = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._written = 0

    def add(self, analysed: Analysed) -> None:
        if self.damage is not None:
            return
        data = (json.dumps(line(analysed), ensure_ascii=False) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            os.ftruncate(self._file, self._written)
            self.damage = f"{self.path.name} ends early: {error.strerror}"
            return
        self._written = os.lseek(self._file, 0, os.SEEK_CUR)

    def close(self) -> bool:
        """Give the file its name; whether that was done. `damage` says why not."""
        try:
            os.close(self._file)
            self._partial.replace(self.path)
        except OSError as error:
            # Some file systems tell only now that they are full.
            self.damage = f"{self.path.name} was not written: {error.strerror}"
            self._partial.unlink(missing_ok=True)
            return False
        return True

    def discard(self) -> None:
        """Leave nothing."""
        os.close(self._file)
        self._partial.unlink(missing_ok=True)


def _event(event: Event) -> dict[str, Any]:
    return {
        "class": event.class_name,
        "confidence": round(event.confidence, 4),
        "id": event.tracker_id,
        "bbox": [round(edge, 1) for edge in event.xyxy],
        "branches": {name: _rounded(branch.as_dict()) for name, branch in event.branches.items()},
        "session_id": event.session_id,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
