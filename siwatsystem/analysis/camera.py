"""A camera as material: its newest frame each time, until it is told to end or the camera is gone."""

import logging
import re
import time
from collections.abc import Callable, Iterator

from siwatsystem.config import Settings
from siwatsystem.errors import StreamUnreachable
from siwatsystem.streams.clip import ClipFrame, ClipInfo
from siwatsystem.streams.pool import SourcePool
from siwatsystem.streams.source import Source
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.streams.thinning import Thinning

log = logging.getLogger(__name__)

_LOOK_SEC = 0.1


class Camera:
    """The camera at `url` (or a webcam's index). What comes while a frame is analysed is left out.

    `stopped` is asked between frames, and several times a second while none comes. Iterating raises
    StreamError when the camera gives no first frame; when it goes away later and does not come back, the
    iteration ends and `damage` says why. A `lasting` one is waited for as long as it takes, whatever it fails
    with, and `on_trouble` is told, by another thread, what is wrong, and None once frames arrive.
    """

    def __init__(
        self,
        url: str,
        settings: Settings,
        stopped: Callable[[], bool],
        fps: float | None = None,
        every: int | None = None,
        snapshot_ms: int | None = None,
        *,
        lasting: bool = False,
        on_trouble: Callable[[str | None], None] | None = None,
    ) -> None:
        self._spec = SourceSpec(url, snapshot_ms)
        self._settings = settings.model_copy(update={"max_retries": -1}) if lasting else settings
        self._lasting = lasting
        self._on_trouble = on_trouble
        self._stopped = stopped
        self._thinning = Thinning(fps, every)
        self.name = f"webcam-{url}" if url.isdecimal() else _name(self._spec.redacted)
        self.info: ClipInfo | None = None
        self.limit_sec: float | None = None
        self.damage: str | None = None
        self.end: float | None = None
        self.began_at = time.time()

    def __iter__(self) -> Iterator[ClipFrame]:
        # How many frames are wanted is not what the settings of a worker say.
        streams = self._settings.streams.model_copy(update={"decode": "all"})
        pool = SourcePool(self._settings.model_copy(update={"streams": streams}), self._changed)
        source = pool.acquire(self._spec)
        try:
            yield from self._frames(source)
        finally:
            pool.release(source)
            pool.close()

    def _frames(self, source: Source) -> Iterator[ClipFrame]:
        sequence = count = 0
        first: float | None = None
        seen_at = time.monotonic()
        while not self._stopped() and not self._over(first):
            frame = source.wait_newer(sequence, _LOOK_SEC)
            if frame is None:
                if not self._lasting and self._gone(source, first is None, time.monotonic() - seen_at):
                    return
                continue
            sequence, seen_at = frame.sequence, time.monotonic()
            if first is None:
                first, self.began_at = frame.monotonic, frame.captured_at
            at = frame.monotonic - first
            if self._thinning.takes(at, count):
                yield ClipFrame(frame.image, at, sequence - 1)
            count += 1

    def _changed(self, source: Source) -> None:
        if self._on_trouble is not None:
            self._on_trouble(None if source.error is None else source.error.message)
        elif source.frames and source.error is not None:
            log.warning("%s: %s, trying again", self.name, source.error.message)

    def _over(self, first: float | None) -> bool:
        return first is not None and self.limit_sec is not None and time.monotonic() - first >= self.limit_sec

    def _gone(self, source: Source, never_seen: bool, silent_sec: float) -> bool:
        """Whether nothing more is to be expected; raises where nothing ever came."""
        error = source.error
        if error is not None and never_seen:
            raise type(error)(f"{self._spec.redacted}: {error.message}")
        # Long enough for a camera that restarts, and for one that never answered to be told as such.
        patience = 2 * self._settings.stale_after_sec
        if silent_sec < patience and (error is None or not error.permanent):
            return False
        reason = "no frame arrives" if error is None else error.message
        if never_seen:
            raise StreamUnreachable(f"{self._spec.redacted}: {reason}")
        self.damage = f"the camera is gone: {reason}"
        return True


def _name(address: str) -> str:
    """Letters that a file name may have: `rtsp://10.0.0.5:554/cam` is `10.0.0.5-554-cam`."""
    bare = address.partition("://")[2].rpartition("@")[2].partition("?")[0]
    return re.sub(r"[^A-Za-z0-9._]+", "-", bare).strip("-.") or "camera"
