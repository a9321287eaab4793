"""All sources: one per address and interval, shared by counted references, watched by one thread."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from siwatsystem import metrics
from siwatsystem.config import Settings
from siwatsystem.errors import MaxStreamsReached
from siwatsystem.streams.capture import Capture
from siwatsystem.streams.openers import open_camera
from siwatsystem.streams.reader import Opener
from siwatsystem.streams.source import Source
from siwatsystem.streams.spec import SourceSpec

__all__ = ["Source", "SourcePool"]

log = logging.getLogger(__name__)

WATCH_SEC = 0.2


@dataclass
class _Shared:
    capture: Capture
    users: int = 1


class SourcePool:
    """Hands out sources. `on_change` is called by capture threads and the watchdog, and must be quick."""

    def __init__(
        self,
        settings: Settings,
        on_change: Callable[[Source], None],
        opener: Opener = open_camera,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._opener = opener
        self._lock = threading.Lock()
        self._shared: dict[SourceSpec, _Shared] = {}
        self._ending: list[Capture] = []
        self._watchdog: threading.Thread | None = None
        self._rung = threading.Event()

    def acquire(self, spec: SourceSpec) -> Source:
        """The source of `spec`, opened if nobody has it yet; give it back with `release`.

        Raises MaxStreamsReached. A camera that cannot be opened raises nothing here: its `error` tells.
        """
        with self._lock:
            shared = self._shared.get(spec)
            if shared is not None:
                shared.users += 1
                return shared.capture.source
            most = self._settings.max_streams
            if len(self._shared) >= most:
                raise MaxStreamsReached(f"{most} sources are open, as many as max_streams allows")
            source = Source(spec, self._settings, self._on_change)
            capture = Capture(source, self._settings, self._opener)
            self._watch()
            capture.start()  # may find no thread: the source must not be shared then
            self._shared[spec] = _Shared(capture)
        log.info("%s: opened for %s", spec.label, spec.redacted)
        return source

    def release(self, source: Source) -> None:
        """Give a source back. The last one to do so ends it, without waiting for its thread."""
        with self._lock:
            shared = self._shared.get(source.spec)
            if shared is None or shared.capture.source is not source:
                return
            shared.users -= 1
            if shared.users:
                return
            del self._shared[source.spec]
            self._ending.append(shared.capture)
        shared.capture.stop()

    def status(self) -> list[dict[str, Any]]:
        """One entry per open source, for `/health` and the dashboard."""
        with self._lock:
            shared = list(self._shared.values())
        return [_described(one.capture.source, one.users) for one in shared]

    def close(self, timeout: float = 5.0) -> bool:
        """End all sources and wait for their threads. Returns whether all have ended in time."""
        with self._lock:
            captures = [one.capture for one in self._shared.values()]
            self._shared.clear()
            self._ending.extend(captures)
            waiting = list(self._ending)
        for capture in captures:
            capture.stop()
        self._rung.set()
        deadline = time.monotonic() + timeout
        for capture in waiting:
            capture.thread.join(max(0.0, deadline - time.monotonic()))
        watchdog = self._watchdog
        if watchdog is not None and not any(one.thread.is_alive() for one in waiting):
            self._rung.set()
            watchdog.join(max(0.1, deadline - time.monotonic()))
        return not any(one.thread.is_alive() for one in waiting)

    def _watch(self) -> None:
        """Have a watchdog; called with the lock held."""
        if self._watchdog is None:
            watchdog = threading.Thread(target=self._guard, name="cameras-watchdog", daemon=True)
            watchdog.start()
            self._watchdog = watchdog

    def _guard(self) -> None:
        """Runs while there is a capture: looks after the open ones, forgets those that have ended."""
        while True:
            self._rung.wait(WATCH_SEC)
            self._rung.clear()
            with self._lock:
                captures = [one.capture for one in self._shared.values()]
                self._forget_ended()
                if not captures and not self._ending:
                    self._watchdog = None
                    return
                captures += self._ending
            now = time.monotonic()
            for capture in captures:
                try:
                    capture.check(now)
                except Exception:
                    log.exception("%s: the watchdog's look failed", capture.source.spec.label)

    def _forget_ended(self) -> None:
        live = {spec.label for spec in self._shared}
        for capture in [one for one in self._ending if not one.thread.is_alive()]:
            self._ending.remove(capture)
            label = capture.source.spec.label
            if label not in live:
                for instrument in metrics.OF_SOURCES:
                    instrument.remove(label)


def _described(source: Source, users: int) -> dict[str, Any]:
    frame, error, decoding = source.latest, source.error, source.decoding
    keyframe_sec = decoding.keyframe_sec
    return {
        "source": source.spec.label,
        "url": source.spec.redacted,
        "users": users,
        "online": source.online,
        "frames": source.frames,
        "reconnects": source.reconnects,
        "decode": decoding.policy,
        "device": decoding.device,
        "keyframeSec": None if keyframe_sec is None else round(keyframe_sec, 3),
        "ageSec": None if frame is None else round(time.monotonic() - frame.monotonic, 3),
        "error": None if error is None else {"code": error.code, "message": error.message},
    }
