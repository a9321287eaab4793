"""JSON lines: one per analysed frame, with its events."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.locks import locked
from siwatsystem.pipeline.events import Event
from siwatsystem.wire_time import wire_time


def line(analysed: Analysed) -> dict[str, Any]:
    """`{frame, at, time, events: [{class, confidence, id, bbox, branches, session_id}], actions}`.

    `at`: seconds from the start; `bbox` in pixels of the frame; `actions` by kind, in their order.
    """
    found: dict[str, Any] = {
        "frame": analysed.frame.index,
        "at": round(analysed.frame.at, 4),
        "time": wire_time(analysed.captured_at),
        "events": [_event(event) for event in analysed.events],
    }
    if analysed.jobs:
        found["actions"] = [job.kind for job in analysed.jobs]
    if analysed.failure is not None:
        found["failure"] = analysed.failure
    return found


def unfinished(path: Path) -> Path:
    """The name of `path` while it is being written."""
    return path.with_name(f".{path.name}.part")


class Lines:
    """Writes to `path`, under another name until `close`. Whatever happens, what is there are whole lines.

    Of what an earlier attempt left under that other name the first `kept` bytes stay. On a full disk
    nothing more is written and `damage` says so; whether what there is then gets the name is for whoever
    calls `close`, or not. Raises BlockingIOError where somebody else writes to `path` just now, OSError where
    it cannot be written to.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        self.path = path
        self._trouble: str | None = None
        self._is_lost = False
        self._partial = unfinished(path)
        self._file = locked(self._partial, os.O_WRONLY)
        os.ftruncate(self._file, kept)
        self._written = os.lseek(self._file, kept, os.SEEK_SET)

    @property
    def damage(self) -> str | None:
        """What is missing, and why; begins with the file's name."""
        if self._trouble is None:
            return None
        return f"{self.path.name} {'was not written' if self._is_lost else 'ends early'}: {self._trouble}"

    @property
    def size(self) -> int:
        """Bytes of whole lines."""
        return self._written

    def add(self, analysed: Analysed) -> None:
        if self._trouble is not None:
            return
        data = (json.dumps(line(analysed), ensure_ascii=False) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            os.ftruncate(self._file, self._written)
            self._trouble = error.strerror
            return
        self._written = os.lseek(self._file, 0, os.SEEK_CUR)

    def close(self) -> bool:
        """Give the file its name; whether that was done. `damage` says why not."""
        try:
            # A name that is there after a power failure must not stand for lines that are not.
            os.fsync(self._file)
            self._partial.replace(self.path)
            os.close(self._file)
        except OSError as error:
            # Some file systems tell only now that they are full.
            self._trouble, self._is_lost = error.strerror, True
            with suppress(OSError):
                os.close(self._file)
            self._partial.unlink(missing_ok=True)
            return False
        return True

    def suspend(self) -> None:
        """Leave what there is under its other name, for an attempt that goes on from there."""
        self._is_lost = True
        with suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)

    def discard(self) -> None:
        """Leave nothing."""
        self._is_lost = True
        self._partial.unlink(missing_ok=True)
        os.close(self._file)


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
