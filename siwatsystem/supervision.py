"""Parts that may get stuck or die, watched by one thread, restarted within a budget, never silent.

A part says of itself whether it needs a restart and how that is done (`Watched`). Whoever has restarts
left gets one; who has used them up is `failed`: told, shown in `/health` and `/metrics`, and tried
again only once the oldest restart of the budget is longer ago than its window. It has failed until it has
been well for as long as the budget allows it to live between two restarts: one that hangs each time is
well for a while after each of them, too.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from siwatsystem import metrics
from siwatsystem.config import SupervisionSettings

log = logging.getLogger(__name__)

LOOK_SEC = 1.0
"""How often each part is looked at."""
LATE_SEC = 5.0
"""Looks that are further apart mean that the whole process stood still."""
HUNG_SEC = 30.0
"""A look at all parts that takes longer hangs in one of them."""

Forget = Callable[[], None]
"""Ends the watch over a part; may be called more than once."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that could not be kept alive, or (`ended`) lives again."""

    kind: str
    name: str
    reason: str
    ended: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name} has failed: {self.reason}"


@dataclass(frozen=True, slots=True)
class Watched:
    """One part. `look` and `restart` are called by the supervisor's thread and must not block."""

    kind: str
    """What it is, for people and metrics: `reader`, `model`, `outbox writer`, `delivery`."""
    name: str
    """Which one, without secrets: a camera's label, a model's id, a server's host and port."""
    look: Callable[[float], str | None]
    """Why it needs a restart at that time (`time.monotonic()`); None while it is well."""
    restart: Callable[[], object]
    """Put a new one in its place; the old one is left alone, as nothing can end a stuck thread. False: that
    cannot be done now, which is no restart; it has failed then, and is asked again at each look."""
    failed: Callable[[str | None], object] = lambda reason: None
    """Told the reason when the restarts are used up, and None when it is well again."""


class RestartBudget:
    """At most `most` restarts in any `window_sec`. Pure: the time is an argument."""

    def __init__(self, most: int, window_sec: float) -> None:
        self._most = most
        self._window_sec = window_sec
        self._spent: deque[float] = deque()

    def spend(self, now: float) -> bool:
        """Take one restart; False where none is left."""
        while self._spent and now - self._spent[0] >= self._window_sec:
            self._spent.popleft()
        if len(self._spent) >= self._most:
            return False
        self._spent.append(now)
        return True

    def give_back(self) -> None:
        """What was spent last was not used."""
        self._spent.pop()


@dataclass(eq=False)
class _Part:
    watched: Watched
    budget: RestartBudget
    restarts: int = 0
    reason: str | None = None
    """Why it has failed; None while it has not."""
    well_since: float | None = None
    """The first of the looks that have found it well; None where the newest has not."""


class Supervisor:
    """Watches parts. Every method may be called from any thread.

    `on_failure` is called on the supervisor's own thread, or on that which forgets what has failed.
    """

    def __init__(self, settings: SupervisionSettings, on_failure: Callable[[Failure], None]) -> None:
        self._settings = settings
        self._on_failure = on_failure
        self._steady_sec = settings.window_sec / max(1, settings.restarts)
        self._came_round: float | None = None
        """When all parts had been looked at last (`time.monotonic()`); None before the thread was begun."""
        self._lock = threading.Lock()
        self._parts: list[_Part] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._came_round = time.monotonic()
        self._thread.start()

    def close(self) -> None:
        """Watch nothing any more."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(LOOK_SEC)

    def watch(self, watched: Watched) -> Forget:
        """Look after a part from now on, until the function that comes back is called."""
        part = _Part(watched, RestartBudget(self._settings.restarts, self._settings.window_sec))
        with self._lock:
            self._parts.append(part)

        def forget() -> None:
            with self._lock:
                if part not in self._parts:
                    return
                self._parts.remove(part)
                reason = part.reason
            if reason is not None:
                self._show(watched.kind)
                if not self._ended.is_set():
                    self._on_failure(Failure(watched.kind, watched.name, reason, ended=True))

        return forget

    def failures(self) -> list[Failure]:
        """The parts that have failed and not come back."""
        with self._lock:
            parts = list(self._parts)
        found = [
            Failure(part.watched.kind, part.watched.name, part.reason)
            for part in parts
            if part.reason is not None
        ]
        since = 0.0 if self._came_round is None else time.monotonic() - self._came_round
        if since > HUNG_SEC and not self._ended.is_set():
            found.append(Failure("supervisor", "thread", f"nothing is looked after for {since:.0f} s"))
        return found

    def status(self) -> list[dict[str, Any]]:
        """The parts that were restarted or have failed, for `/health` and the dashboard."""
        with self._lock:
            parts = [part for part in self._parts if part.restarts or part.reason is not None]
        return [
            {
                "kind": part.watched.kind,
                "name": part.watched.name,
                "state": "running" if part.reason is None else "failed",
                "restarts": part.restarts,
                "reason": part.reason,
            }
            for part in parts
        ]

    def check(self, now: float) -> None:
        """Look at each part once (what the thread does every second)."""
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            try:
                self._check(part, now)
            except Exception:
                # A part that cannot be looked at must not cost the others their watch.
                log.exception("%s %s could not be looked after", part.watched.kind, part.watched.name)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SEC):
            late = time.monotonic() - (self._came_round or 0.0)
            if late > LATE_SEC:
                # Stopped, frozen or swapped out: what was under way has had no time to come to its end.
                log.warning("nothing was looked after for %.0f s", late)
                self._came_round = time.monotonic()
                if self._ended.wait(LATE_SEC):
                    return
            self.check(time.monotonic())
            self._came_round = time.monotonic()

    def _check(self, part: _Part, now: float) -> None:
        watched = part.watched
        reason = watched.look(now)
        if reason is None:
            self._is_well(part, now)
            return
        part.well_since = None
        if not part.budget.spend(now):
            self._fails(part, reason, "its restarts are used up")
        elif watched.restart() is False:
            part.budget.give_back()
            self._fails(part, reason, "it cannot be restarted")
        else:
            part.restarts += 1
            metrics.RESTARTS.labels(watched.kind).inc()
            log.error("%s %s is restarted: %s", watched.kind, watched.name, reason)

    def _fails(self, part: _Part, reason: str, why: str) -> None:
        watched = part.watched
        with self._lock:
            if part.reason is not None or part not in self._parts:
                return
            part.reason = reason
        log.error("%s %s has failed, %s: %s", watched.kind, watched.name, why, reason)
        self._show(watched.kind)
        watched.failed(reason)
        self._on_failure(Failure(watched.kind, watched.name, reason))

    def _is_well(self, part: _Part, now: float) -> None:
        watched = part.watched
        if part.well_since is None:
            part.well_since = now
        with self._lock:
            reason = part.reason
            if reason is None or part not in self._parts or now - part.well_since < self._steady_sec:
                return
            part.reason = None
        log.info("%s %s works again", watched.kind, watched.name)
        self._show(watched.kind)
        watched.failed(None)
        self._on_failure(Failure(watched.kind, watched.name, reason, ended=True))

    def _show(self, kind: str) -> None:
        metrics.FAILED_PARTS.labels(kind).set(sum(one.kind == kind for one in self.failures()))


Watch = Callable[[Watched], Forget]
"""`Supervisor.watch`, as rooms are given it."""


def unwatched(_: Watched) -> Forget:
    """Stands in for a supervisor where there is none: in the Python functions, in tests."""
    return lambda: None
