"""What is wrong with the outbox: told once when it begins and once when it ends, and counted."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from siwatsystem.actions.base import Problem
from siwatsystem.errors import ErrorCode
from siwatsystem.metrics import OUTBOX_DROPPED

log = logging.getLogger(__name__)

_RECURRING_SEC = 60.0
"""A refusal that comes back within this time of its end ends only after as long without another one:
where good and bad records alternate, each of them would be told."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server does not take: the target's key and place, the table (or the kind of job), and why."""

    target: str
    place: str
    table: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place} refuses {self.table} ({self.reason})"


@dataclass(slots=True)
class _Refused:
    """A refusal that lasts: what was told to whom, whether it is back, and when it came last."""

    recurring: bool
    last: float
    told: dict[str | None, Problem] = field(default_factory=dict[str | None, Problem])


class Troubles:
    """Thread-safe; `on_problem` is called on the thread that found out, without a lock held."""

    def __init__(self, on_problem: Callable[[Problem], None]) -> None:
        self.tell = on_problem
        self._refused: dict[Refusal, _Refused] = {}
        self._ended: dict[Refusal, float] = {}
        self._lock = threading.Lock()
        self._lasting: dict[str, Problem] = {}
        self._dropped: Counter[str] = Counter()

    def begins(self, topic: str, code: ErrorCode, message: str) -> None:
        """Tell it, unless the same topic is wrong already."""
        with self._lock:
            if topic in self._lasting:
                return
            problem = self._lasting[topic] = Problem(code, message)
        log.warning("outbox: %s", message)
        self.tell(problem)

    def ends(self, topic: str) -> None:
        """Tell that it is over, if it was wrong."""
        with self._lock:
            problem = self._lasting.pop(topic, None)
        if problem is not None:
            log.info("outbox: over: %s", problem.message)
            self.tell(Problem(problem.code, f"over: {problem.message}", ended=True))

    def lasts(self, topic: str) -> bool:
        """Whether the topic is wrong now."""
        return topic in self._lasting

    def refused(self, refusal: Refusal, problem: Problem) -> bool:
        """Tell it, unless its subscription was told of this refusal since it began; whether it was new."""
        now = time.monotonic()
        with self._lock:
            recurring = now - self._ended.get(refusal, -_RECURRING_SEC) < _RECURRING_SEC
            lasting = self._refused.setdefault(refusal, _Refused(recurring, now))
            lasting.last = now
            new = problem.subscription not in lasting.told
            lasting.told.setdefault(problem.subscription, problem)
        if new:
            self.tell(problem)
        return new

    def taken(self, target: str, table: str) -> None:
        """The target took something of that table: tell that its refusals are over."""
        if not self._refused:
            return
        now = time.monotonic()
        problems: list[Problem] = []
        with self._lock:
            for refusal, lasting in list(self._refused.items()):
                if (refusal.target, refusal.table) != (target, table):
                    continue
                if lasting.recurring and now - lasting.last < _RECURRING_SEC:
                    continue
                del self._refused[refusal]
                self._ended[refusal] = now
                problems += lasting.told.values()
        for problem in problems:
            self.tell(replace(problem, message=f"over: {problem.message}", ended=True))

    def forget(self, target: str) -> None:
        """Nobody uses the target any more: tell that its refusals are over."""
        with self._lock:
            of_target = [refusal for refusal in self._refused if refusal.target == target]
            problems = [one for refusal in of_target for one in self._refused.pop(refusal).told.values()]
            self._ended = {refusal: at for refusal, at in self._ended.items() if refusal.target != target}
        for problem in problems:
            self.tell(replace(problem, message=f"over: {problem.message}", ended=True))

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count jobs that will never be done."""
        OUTBOX_DROPPED.labels(reason).inc(count)
        with self._lock:
            self._dropped[reason] += count

    def lasting(self) -> list[str]:
        """What is wrong now, in words; of a refusal not the server's own, which may quote a value."""
        with self._lock:
            return [*(problem.message for problem in self._lasting.values()), *map(str, self._refused)]

    def drops(self) -> dict[str, int]:
        """Jobs dropped since the start, by reason."""
        with self._lock:
            return dict(self._dropped)
