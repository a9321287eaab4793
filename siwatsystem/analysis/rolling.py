"""JSON lines without an end: one file after the other, of which the newest are kept."""

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.lines import Lines, unfinished
from siwatsystem.analysis.resuming import counted

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
"""Of one file: a flood of objects must not make it endless."""
STAMPED = r"-\d{8}T\d{6}\.\d{3}Z\.jsonl"
"""How names of such files end."""


class RollingLines:
    """Writes `{name}-{when it began, UTC}.jsonl` files of `seconds` each into `folder`, and keeps the newest
    `most`.

    A file has its name once it is whole; what a killed process left is given its name at the start. Where
    nothing can be written `trouble` is told why, lines are lost, and the next file is tried.
    """

    def __init__(
        self, folder: Path, name: str, seconds: float, most: int, trouble: Callable[[str | None], None]
    ) -> None:
        self._folder = folder
        self._name = name
        self._seconds = seconds
        self._most = most
        self._trouble = trouble
        self._told: str | None = None
        self._lines: Lines | None = None
        self._due = 0.0
        self._finish_others()

    def add(self, analysed: Analysed, now: float) -> None:
        """`now`: seconds since 1970."""
        self.turn(now)
        if self._lines is None and now >= self._due:
            self._due = now + self._seconds
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lines = Lines(self._path(now))
            except OSError as error:
                # Tried again when the next file would begin, not for each frame.
                self._tell(f"{self._folder} cannot be written to: {error.strerror or error}")
                return
        if self._lines is not None:
            self._lines.add(analysed)
            self._tell(self._lines.damage)

    def turn(self, now: float) -> None:
        """End the file whose time is over; to be called also while nothing comes."""
        lines = self._lines
        if lines is not None and (
            now >= self._due or lines.size >= MAX_BYTES or self._due - now > self._seconds
        ):
            self.close()
            self._due = 0.0

    def close(self) -> None:
        lines, self._lines = self._lines, None
        if lines is None:
            return
        if not lines.size:
            lines.discard()
        elif not lines.close():
            self._tell(lines.damage)
        self._remove_oldest()

    def _path(self, now: float) -> Path:
        """A name that no file has."""
        while True:
            moment = datetime.fromtimestamp(now, UTC)
            stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
            path = self._folder / f"{self._name}-{stamp}.jsonl"
            if not path.exists() and not unfinished(path).exists():
                return path
            now += 0.001

    def _files(self, *, whole: bool) -> list[Path]:
        """Those of this name, the oldest first."""
        pattern = re.compile(re.escape(self._name) + STAMPED)
        if whole:
            return sorted(path for path in self._folder.glob("*.jsonl") if pattern.fullmatch(path.name))
        left = self._folder.glob(".*.jsonl.part")
        names = sorted(path.name.removeprefix(".").removesuffix(".part") for path in left)
        return [self._folder / name for name in names if pattern.fullmatch(name)]

    def _finish_others(self) -> None:
        """Give their names to files that a killed process left, up to their last whole line."""
        with suppress(OSError):
            for path in self._files(whole=False):
                with suppress(OSError):  # also while another process writes to it
                    begun = counted(unfinished(path), 0.0)
                    lines = Lines(path, 0 if begun is None else begun.kept)
                    if lines.size:
                        lines.close()
                    else:
                        lines.discard()
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        with suppress(OSError):
            for path in self._files(whole=True)[: -self._most]:
                path.unlink(missing_ok=True)

    def _tell(self, trouble: str | None) -> None:
        if trouble != self._told:
            self._told = trouble
            if trouble is not None:
                log.warning("%s: %s", self._name, trouble)
            self._trouble(trouble)
