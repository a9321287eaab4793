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
from dataclasses import dataclass, replace
from typing import Any, Literal

from siwatsystem import metrics
from siwatsystem.config import SupervisionSettings

log = logging.getLogger(__name__)

LOOK_SEC = 1.0
"""How often each part is looked at."""
LATE_SEC = 5.0
"""Looks that are further apart mean that the whole process stood still."""
HUNG_SEC = 30.0
"""A look at all parts that takes longer hangs in one of them."""
MOST_STUCK = 8
"""Old ones of a part that may hang, with their memory and a core each, before no further one is begun."""
APART_SEC = (0.0, 5.0, 30.0)
"""How long after the restart before it the first, second, third of a budget is; each further one as the
last. What fails at once would spend them all in as many looks."""

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
    cannot be done now, which is no restart; unless it is well by then it has failed, and is asked again at
    each look."""
    failed: Callable[[str | None], object] = lambda reason: None
    """Told the reason when the restarts are used up, and None when it is well again."""
    detail: str = ""
    """What tells it from another of the same kind and name; said only where there is one."""


Spending = Literal["spent", "too soon", "used up"]


class RestartBudget:
    """At most `most` restarts in any `window_sec`, further and further apart. Pure: time is an argument."""

    def __init__(self, most: int, window_sec: float) -> None:
        self._most = most
        self._window_sec = window_sec
        self._spent: deque[float] = deque()

    def spend(self, now: float) -> Spending:
        """Take one restart, where there is one left and the one before is long enough ago."""
        while self._spent and now - self._spent[0] >= self._window_sec:
            self._spent.popleft()
        count = len(self._spent)
        if count >= self._most:
            return "used up"
        apart = min(APART_SEC[min(count, len(APART_SEC) - 1)], self._window_sec / self._most)
        if self._spent and now - self._spent[-1] < apart:
            return "too soon"
        self._spent.append(now)
        return "spent"

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
        """Watch nothing any more; the thread is not waited for, as a look may hang."""
        self._ended.set()

    def watch(self, watched: Watched) -> Forget:
        """Look after a part from now on, until the function that comes back is called."""
        budget = RestartBudget(self._settings.restarts, self._settings.window_sec)
        with self._lock:
            names = {one.watched.name for one in self._parts if one.watched.kind == watched.kind}
            if watched.detail and watched.name in names:
                watched = replace(watched, name=f"{watched.name} ({watched.detail})")
            part = _Part(watched, budget)
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
            if self._ended.is_set():
                return
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
        spent = part.budget.spend(now)
        if spent == "used up":
            self._fails(part, reason, "its restarts are used up")
        elif spent == "spent":
            self._restart(part, reason, now)

    def _restart(self, part: _Part, reason: str, now: float) -> None:
        watched = part.watched
        if watched.restart() is not False:
            part.restarts += 1
            metrics.RESTARTS.labels(watched.kind).inc()
            log.error("%s %s is restarted: %s", watched.kind, watched.name, reason)
            return
        part.budget.give_back()
        if watched.look(now) is not None:  # else it came back in this moment
            self._fails(part, reason, "it cannot be restarted")

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


@dataclass(frozen=True, slots=True)
class Care:
    """How models are looked after: who watches, and after how many seconds a call counts as stuck."""

    watch: Watch = unwatched
    stuck_sec: float = 60.0
