"""What is analysed: something with a name that gives frames, and can say afterwards what it could not."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
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
    limit_sec: float | None
    """Seconds after which it ends; to be set before it is iterated."""
    began_at: float
    """When its first frame was captured, or what stands for that (seconds since 1970)."""

    @property
    def damage(self) -> str | None:
        """What could not be read, once it has ended or was left."""
        ...

    @property
    def end(self) -> float | None:
        """The seconds it lasted, once it has ended by itself; None where only its last frame tells."""
        ...

    def __iter__(self) -> Iterator[ClipFrame]: ...


class Recording:
    """A file, read as fast as it is analysed, by a thread of its own. Raises StreamError.

    `start`: number of the first frame that is wanted.
    """

    def __init__(
        self, path: Path, fps: float | None = None, every: int | None = None, start: int = 0
    ) -> None:
        self._clip = Clip(path, fps, every, start, self._passed)
        self._end: float | None = None
        self._reached = 0.0
        self._is_over = False
        self._is_awaited = False
        """Whether nothing that was read ahead is left: the next frame's taker waits."""
        self.passing: Callable[[int], bool] | None = None
        """Given the number of each frame that is left out while the next one is waited for, in the reading
        thread; says whether to go on. To be set before it is iterated."""
        self.was_left = False
        """It ended because `passing` said so."""
        self.name = path.stem
        self.info: ClipInfo | None = self._clip.info
        self.limit_sec: float | None = None
        self.began_at = time.time()

    @property
    def damage(self) -> str | None:
        """Of what was looked at: how far the thread had read ahead depends on its timing."""
        return self._clip.damage if self._is_over else self._clip.damage_before(self._reached)

    @property
    def end(self) -> float | None:
        return self._end

    def __iter__(self) -> Iterator[ClipFrame]:
        self._is_awaited = True
        with closing(ahead(self._clip)) as frames:
            for frame in frames:
                self._is_awaited = False
                if self.limit_sec is not None and frame.at >= self.limit_sec:
                    self._end = self._reached = self.limit_sec
                    return
                self._reached = frame.at
                yield frame
                self._is_awaited = True
        if self.was_left:
            return
        self._is_over = True
        if self.damage is None:
            self._end = self._clip.info.seconds

    def _passed(self, index: int) -> bool:
        # Else it would be ahead of what is analysed, and hide that nothing comes of that.
        if self._is_awaited and self.passing is not None and not self.passing(index):
            self.was_left = True
        return not self.was_left
