"""The servers that the outbox knows, and the deliveries to them.

A delivery begins at its server's first job. It ends, and what is counted of the server with it, once no open
pipeline has named the server and nothing has waited for it for a while.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from siwatsystem.actions.contention import Contention
from siwatsystem.actions.delivery import Delivery, Surroundings
from siwatsystem.actions.pending import Pending
from siwatsystem.actions.registry import kinds_of
from siwatsystem.actions.store import Store
from siwatsystem.actions.targets import Target
from siwatsystem.actions.troubles import Troubles
from siwatsystem.metrics import ACTIONS_DONE, OUTBOX_DEPTH
from siwatsystem.supervision import Forget

log = logging.getLogger(__name__)

IDLE_SEC = 600.0
"""How long a server that nobody uses is remembered: archives are replaced, and tried out, in less."""

_Way = tuple[str, bool]
"""A target's key, and whether it is the patient delivery."""


class LookAfter(Protocol):
    """Has a thread watched: its kind and name, which it is now, and what replaces it."""

    def __call__(
        self, kind: str, name: str, part: Callable[[], Delivery | None], replace: Callable[[], None]
    ) -> Forget: ...


class Servers:
    """Thread-safe, with the lock of what is `pending`. Who holds that lock and the store's took the store's
    first."""

    def __init__(
        self,
        store: Store,
        pending: Pending,
        troubles: Troubles,
        surroundings: Callable[[Contention], Surroundings],
        look_after: LookAfter,
        idle_sec: float = IDLE_SEC,
    ) -> None:
        """`surroundings` are those of a delivery, of which all is known but what is held up there."""
        self._store = store
        self._pending = pending
        self._troubles = troubles
        self._surroundings = surroundings
        self._look_after = look_after
        self._idle_sec = idle_sec
        self._lock = pending.changed
        self._closed = False
        self.targets = store.targets()
        """By key; those of jobs that were given up, too, which somebody may want to have tried again."""
        self._users: Counter[str] = Counter()
        """How many open pipelines name each."""
        self._used: dict[str, float] = {}
        """When each was used last (`time.monotonic()`); whatever has a delivery or series is here."""
        for key in self.targets:
            self._use(key)
        self._deliveries: dict[_Way, Delivery] = {}
        self._watches: dict[_Way, Forget] = {}
        self._contentions: dict[str, Contention] = {}

    def register(self, target: Target) -> str:
        """An open pipeline names the server; its key. Touches no disk."""
        key = target.key
        with self._lock:
            self.targets[key] = target
            self._users[key] += 1
            self._use(key)
        return key

    def release(self, key: str) -> None:
        """A pipeline that named the server was closed; nothing of it submits any more."""
        with self._lock:
            self._users[key] -= 1
            if self._users[key] <= 0:
                del self._users[key]
            self._use(key)

    def place(self, key: str) -> str:
        """Where the server is, for people and metrics; empty for one that is not known."""
        target = self.targets.get(key)
        return "" if target is None else target.place

    def wake(self, key: str) -> None:
        """Have the deliveries to that server look; started at its first job."""
        for delivery in self._deliveries_to(key):
            delivery.wake()

    def hurry(self, key: str) -> None:
        """The same, at once, though the server was away."""
        for delivery in self._deliveries_to(key):
            delivery.hurry()

    def all(self) -> dict[_Way, Delivery]:
        """The deliveries that there are."""
        with self._lock:
            return dict(self._deliveries)

    def waits(self, key: str, seq: int) -> bool:
        """Whether that job of the server waits because the server is away, or the job is held up there."""
        with self._lock:
            contention = self._contentions.get(key)
            ways = [self._deliveries.get((key, patient)) for patient in (False, True)]
        if contention is not None and contention.holds(seq):
            return True
        return any(one is not None and one.outage is not None for one in ways)

    def move_gauges(self) -> None:
        with self._lock:
            depth = self._store.counts.depth
            for key in self._contentions:
                OUTBOX_DEPTH.labels(key).set(depth.get(key, 0))
            for key in depth:
                self._use(key)

    def retire(self) -> None:
        """End what has not been used for a while; waits for the disk. Raises sqlite3.Error."""
        with self._lock:
            idle = [key for key in self._used if self._is_idle(key)]
        for key in idle:
            self._retire(key)

    def close(self) -> list[Delivery]:
        """Nothing is begun any more; what is to be stopped and joined."""
        with self._lock:
            self._closed = True
            watches, self._watches = list(self._watches.values()), {}
            deliveries = list(self._deliveries.values())
        for forget in watches:
            forget()
        return deliveries

    def _use(self, key: str) -> None:
        """Called with the lock held."""
        if key not in self.targets:
            return
        if key not in self._used:
            # An alert looks for the first increase, which Prometheus sees only from 0 on.
            for kind in kinds_of(self.targets[key].kind):
                ACTIONS_DONE.labels(kind, "failed", self.place(key))
        self._used[key] = time.monotonic()

    def _is_idle(self, key: str) -> bool:
        """Called with the lock held."""
        if self._closed or self._users[key] or self._pending.names[key] or key in self._store.counts.depth:
            return False
        ways = [self._deliveries.get((key, patient)) for patient in (False, True)]
        # That an outage has ended is told by the delivery, as soon as it finds that nothing waits.
        away = any(one is not None and one.outage is not None for one in ways)
        return not away and time.monotonic() - self._used[key] >= self._idle_sec

    def _retire(self, key: str) -> None:
        with self._store.lock:
            # While this lock is held nothing comes into the file. What comes later finds a delivery that
            # takes nothing any more, and begins another.
            kept = self._store.has_failed(key)
            with self._lock:
                if key not in self._used or not self._is_idle(key):
                    return
                watches = self._end(key, kept)
        for forget in watches:
            forget()
        self._troubles.forget(key)
        log.info("outbox: nothing goes to %s any more", key)

    def _end(self, key: str, kept: bool) -> list[Forget]:
        """End the deliveries and the series; what they are watched by. Called with both locks held."""
        watches: list[Forget] = []
        for way in ((key, False), (key, True)):
            if (delivery := self._deliveries.pop(way, None)) is not None:
                delivery.stop()
            if (forget := self._watches.pop(way, None)) is not None:
                watches.append(forget)
        del self._used[key]
        if self._contentions.pop(key, None) is not None:
            with suppress(KeyError):
                OUTBOX_DEPTH.remove(key)
        place = self.place(key)
        if not kept:
            self.targets.pop(key, None)
        # Several users of one server have its series in common.
        if not any(self.place(other) == place for other in self._used):
            ACTIONS_DONE.remove_by_labels({"server": place})
        return watches

    def _deliveries_to(self, key: str) -> list[Delivery]:
        with self._lock:
            if key in self.targets and not self._closed:
                self._use(key)
                if (key, False) not in self._deliveries:
                    self._contentions[key] = Contention(self.targets[key], self._troubles)
                    self._open(key, patient=False)
                if self._contentions[key].any and (key, True) not in self._deliveries:
                    self._open(key, patient=True)
            ways = [self._deliveries.get((key, patient)) for patient in (False, True)]
        return [one for one in ways if one is not None]

    def _open(self, key: str, *, patient: bool) -> None:
        way, target = (key, patient), self.targets[key]
        around = self._surroundings(self._contentions[key])
        delivery = self._deliveries[way] = Delivery(target, around, patient=patient)
        name = f"{target.place}, what is held up" if patient else target.place
        try:
            delivery.start()
        finally:  # Where the system has no thread left, the watch tries again.
            self._watches[way] = self._look_after(
                "delivery", name, lambda: self._deliveries.get(way), lambda: self._replace(way)
            )

    def _replace(self, way: _Way) -> None:
        with self._lock:
            old = self._deliveries.get(way)
            if self._closed or old is None:
                return
            around = self._surroundings(self._contentions[way[0]])
            new = Delivery(old.target, around, patient=old.patient, before=old)
            self._deliveries[way] = new
            new.start()
        old.abandon()
