"""All sources: one per address and interval, shared by counted references, watched by one thread."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from siwatsystem import metrics
from siwatsystem.config import Settings
from siwatsystem.errors import MaxStreamsReached, StreamUnreachable
from siwatsystem.streams.capture import Capture
from siwatsystem.streams.ending import Ending
from siwatsystem.streams.openers import open_camera
from siwatsystem.streams.reader import Opener
from siwatsystem.streams.source import Source
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.supervision import Forget, Watch, Watched, unwatched

__all__ = ["Source", "SourcePool"]

log = logging.getLogger(__name__)

WATCH_SEC = 0.2
_HANGS = "so many of its readers hang that no further one is begun: look at the camera, restart the worker"


@dataclass(eq=False)
class _Shared:
    capture: Capture
    users: int = 1
    forget: Forget = lambda: None


class SourcePool:
    """Hands out sources. `on_change` is called by capture threads and the watchdog, and must be quick.

    `watch` is told each reader and the watchdog: a reader that hangs or has died is replaced by another
    on the same source.
    """

    def __init__(
        self,
        settings: Settings,
        on_change: Callable[[Source], None],
        opener: Opener = open_camera,
        *,
        watch: Watch = unwatched,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._opener = opener
        self._watch = watch
        self._lock = threading.Lock()
        self._shared: dict[SourceSpec, _Shared] = {}
        self._ending = Ending()
        self._watchdog: threading.Thread | None = None
        self._came_round = 0.0
        """When the watchdog last did (monotonic clock)."""
        self._rung = threading.Event()
        self._forget = watch(Watched("watchdog", "cameras", self._look_at_watchdog, self._replace_watchdog))

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
            shared = _Shared(Capture(source, self._settings, self._opener))
            self._have_watchdog()
            begun = self._begin(shared.capture)  # may find no thread: the source must not be shared then
            self._shared[spec] = shared
            shared.forget = self._watch(
                Watched(
                    "reader",
                    spec.label,
                    partial(self._look, shared),
                    partial(self._replace, shared),
                    partial(self._failed, shared),
                )
            )
        if not begun:
            source.failed(StreamUnreachable(_HANGS))
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
            capture = shared.capture
            self._ending.add(capture)
        shared.forget()
        capture.stop()

    def status(self) -> list[dict[str, Any]]:
        """One entry per open source, for `/health` and the dashboard."""
        with self._lock:
            shared = list(self._shared.values())
        return [_described(one.capture.source, one.users) for one in shared]

    def close(self, timeout: float = 5.0) -> bool:
        """End all sources and wait for their threads. Returns whether all have ended in time."""
        with self._lock:
            shared = list(self._shared.values())
            self._shared.clear()
            for one in shared:
                self._ending.add(one.capture)
            waiting = self._ending.captures
        self._forget()
        for one in shared:
            one.forget()
            one.capture.stop()
        self._rung.set()
        deadline = time.monotonic() + timeout
        for capture in waiting:
            if capture.running:
                capture.thread.join(max(0.0, deadline - time.monotonic()))
        watchdog = self._watchdog
        if watchdog is not None and not any(one.running for one in waiting):
            self._rung.set()
            watchdog.join(max(0.1, deadline - time.monotonic()))
        return not any(one.running for one in waiting)

    # --- the watchdog --------------------------------------------------------------------------------

    def _have_watchdog(self) -> None:
        """Called with the lock held."""
        if self._watchdog is None or not self._watchdog.is_alive():
            watchdog = threading.Thread(target=self._guard, name="cameras-watchdog", daemon=True)
            self._came_round = time.monotonic()
            watchdog.start()
            self._watchdog = watchdog

    def _guard(self) -> None:
        """Runs while there is a capture: looks after the open ones, forgets those that have ended."""
        while True:
            self._rung.wait(WATCH_SEC)
            self._rung.clear()
            now = time.monotonic()
            with self._lock:
                if self._watchdog is not threading.current_thread():
                    return  # it was replaced while it hung
                self._came_round = now
                captures = [one.capture for one in self._shared.values()]
                self._forget_ended(now)
                if not captures and not self._ending.captures:
                    self._watchdog = None
                    return
            for capture in captures:
                try:
                    self._guard_one(capture, now)
                except Exception:
                    log.exception("%s: the watchdog's look failed", capture.source.spec.label)

    def _guard_one(self, capture: Capture, now: float) -> None:
        capture.check(now)
        if capture.thread.ident is None:
            with self._lock:
                shared = self._shared.get(capture.source.spec)
                if shared is not None and shared.capture is capture:
                    with contextlib.suppress(RuntimeError):
                        self._begin(capture)

    def _forget_ended(self, now: float) -> None:
        live = {spec.label for spec in self._shared}
        for capture in self._ending.sweep(now):
            label = capture.source.spec.label
            if label not in live:
                for instrument in metrics.OF_SOURCES:
                    instrument.remove(label)

    def _begin(self, capture: Capture) -> bool:
        """Start its thread, unless too many of that camera hang; called with the lock held."""
        has_room = self._ending.has_room(capture.source.spec)
        if has_room:
            capture.start()
        return has_room

    # --- what the supervisor calls ---------------------------------------------------------------------

    def _look(self, shared: _Shared, now: float) -> str | None:
        capture = shared.capture
        return _HANGS if capture.thread.ident is None else capture.look(now)

    def _replace(self, shared: _Shared) -> bool:
        """Another capture for the same source; what the one before still delivers is thrown away. False:
        so many hang that this one was never begun, and the watchdog begins it when one of them ends."""
        with self._lock:
            before = shared.capture
            source = before.source
            current = self._shared.get(source.spec)
            if current is not shared or before.thread.ident is None:
                return False
            shared.capture = Capture(source, self._settings, self._opener)
            self._ending.add(before)
            begun = False
            with contextlib.suppress(RuntimeError):  # no thread is to be had: the watchdog goes on trying
                begun = self._begin(shared.capture)
        before.give_up()
        source.reconnects += 1
        if not begun:
            source.failed(StreamUnreachable(_HANGS))
        return True

    def _failed(self, shared: _Shared, reason: str | None) -> None:
        """The restarts are used up, or (None) it works again, which its frames tell."""
        if reason is not None:
            advice = "it was replaced too often to be tried again soon: look at the camera, see the log"
            shared.capture.source.failed(StreamUnreachable(f"{reason}; {advice}"))

    def _look_at_watchdog(self, now: float) -> str | None:
        with self._lock:
            if not self._shared and not self._ending.captures:
                return None
            if self._watchdog is None or not self._watchdog.is_alive():
                return "it has died"
            since = now - self._came_round
        return (
            f"it has hung for {since:.0f} s" if since > self._settings.supervision.reader_stuck_sec else None
        )

    def _replace_watchdog(self) -> None:
        with self._lock:
            self._watchdog = None
            self._have_watchdog()


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
