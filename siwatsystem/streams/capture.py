"""The reader thread of a source: open, read, and open again.

One thread a source runs `_run`; the pool's watchdog calls `check` several times a second, and whoever
releases the source calls `stop`. Each attempt has a cutoff of its own, through which both of them
end whatever the thread is blocked in; an attempt that was retired cannot be confused with the next.
A thread that has died, or that no cutoff reaches because native code holds it, is told by `look`.
"""

import logging
import threading
import time

from siwatsystem import metrics
from siwatsystem.config import Settings
from siwatsystem.errors import StreamError, StreamLost, StreamUnreachable
from siwatsystem.streams.address import parse_address
from siwatsystem.streams.backoff import retry_delay
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.reader import Opener, Opening, Reader
from siwatsystem.streams.source import Source

log = logging.getLogger(__name__)

RELEASED = "released"
STEADY_SEC = 10.0
"""An attempt that lasted this long was no failure to be backed off from."""
FAULT_PAUSE_SEC = 1.0
"""Wait after a fault of ours between two attempts."""
OVER = "the attempt is over"
_OPENING = 3
"""Opening may take that many times the two time-outs of `streams`; its parts have deadlines of their own."""


class Capture:
    """Keeps `source` supplied with frames until it is stopped, or given up for another capture."""

    def __init__(self, source: Source, settings: Settings, opener: Opener) -> None:
        self.source = source
        source.retry = self.retry
        self._term = source.begin()
        self._settings = settings
        self._opener = opener
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._cutoff = Cutoff()
        self._attempting = False
        self._opening_at: float | None = None
        self._progress_at: float | None = None
        self._resting = False
        self._fruitless = 0
        """Consecutive attempts without a frame."""
        self._short = 0
        """Consecutive brief attempts."""
        self.thread = threading.Thread(target=self._run, name=source.spec.label, daemon=True)

    def start(self) -> None:
        self.thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self.thread.is_alive()

    def stop(self) -> None:
        """Have the thread end, from any thread, without waiting for it; the source is of no use then."""
        self.source.close()
        self.give_up()

    def give_up(self) -> None:
        """The same, but the source lives on with another capture."""
        self._stopped.set()
        self._wake.set()
        self._cutoff.cut(RELEASED)

    def retry(self) -> None:
        """Try a camera again that was given up."""
        if self._resting:
            self._wake.set()

    def check(self, now: float) -> None:
        """The watchdog's look: what is late is cut, whose frames stopped is told as lost."""
        cutoff, opening_at, progress_at = self._cutoff, self._opening_at, self._progress_at
        cutoff.check(now)
        streams = self._settings.streams
        longest = _OPENING * (streams.connect_timeout_sec + streams.read_timeout_sec)
        if opening_at is not None and now - opening_at > longest:
            cutoff.cut(f"the camera was not open within {longest:g} s")
        if progress_at is not None and now - progress_at > self.source.stale_after_sec:
            cutoff.cut(f"no new frame for {self.source.stale_after_sec:g} s")
        self.source.check(now)

    def look(self, now: float) -> str | None:
        """Why this capture has to give way to another one at that time; None while it is well."""
        if not self.running:
            return "its reader has died"
        # In this order: an attempt has its cutoff before it begins, and that of the one before is old.
        attempting = self._attempting
        cut_at = self._cutoff.cut_at
        since = now - cut_at if attempting and cut_at is not None else 0.0
        if since <= self._settings.supervision.reader_stuck_sec:
            return None
        return f"its reader has hung for {since:.0f} s ({self._cutoff.reason})"

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._turn()
            except Exception:
                # A thread that ended here would leave its camera lost for good.
                log.exception("%s: an attempt failed", self.source.spec.label)
                self._stopped.wait(FAULT_PAUSE_SEC)

    def _turn(self) -> None:
        """One attempt, and the wait before the next one."""
        before, began = self.source.frames, time.monotonic()
        error = self._attempt()
        if self._stopped.is_set():
            return
        fruitless = self.source.frames == before
        self._fruitless = self._fruitless + 1 if fruitless else 0
        # A camera that lets itself be opened and ends at once must not be opened in a frenzy.
        self._short = self._short + 1 if time.monotonic() - began < STEADY_SEC else 1
        if fruitless or error.permanent:
            self.source.failed(error, self._term)
        self._pause(error)
        self.source.reconnects += 1
        metrics.RECONNECTS.labels(self.source.spec.label).inc()

    def _pause(self, error: StreamError) -> None:
        """Wait before the next attempt: a little, long, or until somebody asks for it."""
        limit = self._settings.max_retries
        if error.permanent:
            self._rest(self._settings.permanent_retry_sec)
        elif 0 <= limit < self._fruitless:
            log.warning("%s: given up after %d attempts", self.source.spec.label, self._fruitless)
            self._rest(None)
        else:
            self._stopped.wait(retry_delay(max(self._fruitless, self._short), self._settings))

    def _rest(self, seconds: float | None) -> None:
        self._wake.clear()
        self._resting = True
        if not self._stopped.is_set():
            self._wake.wait(seconds)
        self._resting = False

    def _attempt(self) -> StreamError:
        """Open the camera and read it until that ends. Returns why it ended."""
        self._cutoff = Cutoff()
        if self._stopped.is_set():
            # `stop` may have cut the attempt before.
            self._cutoff.cut(RELEASED)
        reader: Reader | None = None
        self._opening_at = time.monotonic()
        self._attempting = True
        try:
            reader = self._open()
            self._progress_at = time.monotonic()
            self._opening_at = None
            self._read(reader)
        except StreamError as error:
            log.debug("%s: %s", self.source.spec.label, error.message)
            return error
        except Exception:
            log.exception("%s: reading failed", self.source.spec.label)
            return StreamUnreachable("reading the camera failed, see the log")
        finally:
            self._opening_at = self._progress_at = None
            # Closing may hang, too.
            self._cutoff.cut(OVER)
            if reader is not None:
                self._close(reader)
            self._attempting = False
        return StreamLost(self._cutoff.reason)

    def _close(self, reader: Reader) -> None:
        try:
            reader.close()
        except Exception:
            # Libraries fail here on what is broken anyway; why the attempt ended must not be lost over it.
            log.exception("%s: closing failed", self.source.spec.label)

    def _open(self) -> Reader:
        settings = self._settings.streams
        address = parse_address(self.source.spec.url, settings)
        # However rarely frames are analysed, they have to come more often than they become stale.
        interval = min(self._settings.analysis_interval_sec, self.source.stale_after_sec / 4)
        source = self.source
        return self._opener(
            Opening(
                source.spec,
                address,
                settings,
                self._cutoff,
                interval,
                source.decoding,
                source.stale_after_sec,
            )
        )

    def _read(self, reader: Reader) -> None:
        while self._cutoff.reason is None:
            picture = reader.read()
            if picture is not None and self._cutoff.reason is None:
                self._progress_at = picture.monotonic
                self.source.arrived(picture, self._term)
