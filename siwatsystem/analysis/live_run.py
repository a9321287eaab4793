"""One live camera through a pipeline that others use too, until whoever asked for it has enough."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.analysis import analyse
from siwatsystem.analysis.camera import Camera
from siwatsystem.analysis.rolling import RollingLines
from siwatsystem.config import Settings
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LiveWanted:
    """A camera, and what is to be made of it."""

    url: str
    folder: Path | None
    """Where its lines go; None: its actions are all that comes of it."""
    name: str
    """What its files begin with."""
    fps: float | None = None
    every: int | None = None
    file_sec: float = 600.0
    """Length of a file of lines."""
    files: int = 144
    """Files that are kept."""


class Troubles:
    """Reasons of several who know nothing of one another; the first that is there is told. Any thread."""

    def __init__(self, tell: Callable[[str | None], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def of(self, who: str) -> Callable[[str | None], None]:
        """Takes why `who` is in trouble; None: it is not."""

        def take(reason: str | None) -> None:
            with self._lock:
                self._reasons.pop(who, None)
                if reason is not None:
                    self._reasons[who] = reason
                self._tell(next(iter(self._reasons.values()), None))

        return take


class LiveRun:
    """`seen` is given the number of frames analysed so far after each one, `trouble` why nothing comes of it
    just now (None: it goes on), also by other threads; `ended` is asked several times a second."""

    def __init__(
        self,
        pipeline: Pipeline,
        actions: Actions,
        settings: Settings,
        seen: Callable[[int], None],
        trouble: Callable[[str | None], None],
        ended: Callable[[], bool],
    ) -> None:
        self._pipeline = pipeline
        self._actions = actions
        self._settings = settings
        self._seen = seen
        self._trouble = Troubles(trouble)
        self._ended = ended
        self._lines: RollingLines | None = None

    def over(self, wanted: LiveWanted, context: EventContext) -> None:
        """Until `ended`. A camera that is away, or cannot be opened at all, is tried for as long."""
        if wanted.folder is not None:
            self._lines = RollingLines(
                wanted.folder, wanted.name, wanted.file_sec, wanted.files, self._trouble.of("lines")
            )
        camera = Camera(
            wanted.url,
            self._settings,
            self._stopped,
            wanted.fps,
            wanted.every,
            lasting=True,
            on_trouble=self._trouble.of("camera"),
        )
        try:
            self._frames(camera, context)
        finally:
            if self._lines is not None:
                self._lines.close()
            # What waited for the camera's last objects.
            self._actions.taken()

    def _frames(self, camera: Camera, context: EventContext) -> None:
        with closing(analyse(camera, self._pipeline, self._actions, context)) as frames:
            for number, analysed in enumerate(frames, 1):
                if self._lines is not None:
                    self._lines.add(analysed, time.time())
                self._seen(number)

    def _stopped(self) -> bool:
        ended = self._ended()
        if self._lines is not None and ended:
            # Before the camera is given up: one that hangs takes seconds for that.
            self._lines.close()
        elif self._lines is not None:
            self._lines.turn(time.time())
        return ended
