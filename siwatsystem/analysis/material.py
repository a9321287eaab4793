"""What is analysed: something with a name that gives frames, and can say afterwards what it could not."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from siwatsystem.analysis.ahead import ahead
from siwatsystem.streams.clip import Clip, ClipFrame, ClipInfo


class Material(Protocol):
    """A recording or a camera; iterated once."""

    name: str
    """For output files and reports."""
    info: ClipInfo | None
    """What is known before it is read; None for a camera."""
    damage: str | None
    """What could not be read, once it has ended."""
    began_at: float
    """When its first frame was captured, or what stands for that (seconds since 1970)."""

    def __iter__(self) -> Iterator[ClipFrame]: ...


class Recording:
    """A file, read as fast as it is analysed, by a thread of its own. Raises StreamError."""

    def __init__(self, path: Path, fps: float | None = None, every: int | None = None) -> None:
        self._clip = Clip(path, fps, every)
        self.name = path.stem
        self.info: ClipInfo | None = self._clip.info
        self.began_at = time.time()

    @property
    def damage(self) -> str | None:
        return self._clip.damage

    def __iter__(self) -> Iterator[ClipFrame]:
        return ahead(self._clip)
