"""A source as others see it: the newest frame, whether frames arrive, and what is wrong if not."""

import logging
import threading
import time
from collections.abc import Callable

from siwatsystem import metrics
from siwatsystem.config import Settings
from siwatsystem.errors import StreamError, StreamLost, StreamUnreachable
from siwatsystem.frames import Frame
from siwatsystem.streams.latest import Latest
from siwatsystem.streams.reader import Decoding, Picture
from siwatsystem.streams.spec import SourceSpec

log = logging.getLogger(__name__)

Listener = Callable[[], None]


class Source:
    """One camera, shared by all that acquired it. Every member may be used from any thread.

    A failure is told (through `on_change`) when it begins, when it becomes one of another kind and when
    it ends. A gap that the first new attempt closes is no failure.
    """

    def __init__(self, spec: SourceSpec, settings: Settings, on_change: Callable[["Source"], None]) -> None:
        self.spec = spec
        self.frames = 0
        """Frames delivered since the source was acquired."""
        self.reconnects = 0
        """Attempts after the first one."""
        self.decoding = Decoding()
        """How it is decoded at the moment."""
        interval = (spec.snapshot_interval_ms or 0) / 1000
        self.stale_after_sec = max(settings.stale_after_sec, 3 * interval)
        self.retry: Callable[[], None] = lambda: None
        """Ends the rest after a permanent failure or the last allowed attempt; else does nothing."""
        self._on_change = on_change
        self._latest = Latest()
        self._error: StreamError | None = None
        self._seen_at: float | None = None
        self._online = False
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._term = 0
        self._captured = metrics.FRAMES_CAPTURED.labels(spec.label)

    @property
    def latest(self) -> Frame | None:
        """The newest frame, however old while the source is not `online`."""
        return self._latest.get()

    def wait_newer(self, sequence: int, timeout: float) -> Frame | None:
        """The newest frame once its number is above `sequence`; None after `timeout` seconds."""
        return self._latest.wait_newer(sequence, timeout)

    @property
    def online(self) -> bool:
        """Whether the newest frame is fresh; judged by the clock, whatever the reader thread does."""
        return self._online and not self._is_stale(time.monotonic())

    @property
    def error(self) -> StreamError | None:
        """What is wrong, None while frames arrive and before the first attempt has failed."""
        return self._error

    def add_listener(self, listener: Listener) -> None:
        """Have `listener` called by the reader thread after each new frame; it must be quick."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def remove_listener(self, listener: Listener) -> None:
        with self._lock:
            self._listeners = tuple(one for one in self._listeners if one != listener)

    # --- what the capture and the pool call ------------------------------------------------------

    def begin(self) -> int:
        """A new reader takes over. What comes with an older number than the one it gets is thrown away."""
        with self._lock:
            self._term += 1
            # A reader that was given up may still write into the one before.
            self.decoding = Decoding()
            return self._term

    def arrived(self, picture: Picture, term: int | None = None) -> None:
        """A new frame; `term`: whose it is (`begin`)."""
        with self._lock:
            if self._is_past(term):
                return
            self.frames += 1
            frame = Frame(
                picture.image,
                captured_at=picture.captured_at,
                monotonic=picture.monotonic,
                sequence=self.frames,
            )
            self._latest.put(frame)
        self._captured.inc()
        self._tell(None, picture.monotonic, term=term)
        for listener in self._listeners:
            listener()

    def failed(self, error: StreamError, term: int | None = None) -> None:
        """An attempt that gave no frame, or ended for a reason that will not pass."""
        if not error.permanent:
            # Only what has been there can be lost.
            kind = StreamLost if self.frames else StreamUnreachable
            error = error if isinstance(error, kind) else kind(error.message)
        self._tell(error, None, term=term)

    def check(self, now: float) -> None:
        """Tell a source as lost whose frames have stopped."""
        if self._online and self._is_stale(now):
            lost = StreamLost(f"no new frame for {self.stale_after_sec:g} s")
            self._tell(lost, None, stale_at=now)

    def close(self) -> None:
        """Nothing is told from now on, nobody waits any more."""
        with self._lock:
            self._listeners = ()
            self._on_change = _nothing
            self._online = False
        self._latest.close()

    def _is_stale(self, now: float) -> bool:
        return self._seen_at is None or now - self._seen_at > self.stale_after_sec

    def _is_past(self, term: int | None) -> bool:
        return term is not None and term != self._term

    def _tell(
        self,
        error: StreamError | None,
        seen_at: float | None,
        *,
        stale_at: float | None = None,
        term: int | None = None,
    ) -> None:
        """The one place where the state changes; given `stale_at`, only if it is stale then."""
        with self._lock:
            if self._is_past(term):
                return
            if stale_at is not None and not self._is_stale(stale_at):
                return
            before = (self._online, self._error and self._error.code)
            self._seen_at = self._seen_at if seen_at is None else seen_at
            self._online = error is None
            self._error = error
            changed = before != (self._online, error and error.code)
            on_change = self._on_change
        if not changed:
            return
        if error is not None:
            log.warning("%s: %s", self.spec.label, error.message)
        else:
            log.info("%s: frames arrive", self.spec.label)
        on_change(self)


def _nothing(_: Source) -> None:
    """Stands in for `on_change` once a source was released."""
