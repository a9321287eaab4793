"""What is wrong with the outbox: told once when it begins and once when it ends, and counted."""

import threading
from collections import Counter
from collections.abc import Callable

from siwatsystem.actions.base import Problem
from siwatsystem.errors import ErrorCode
from siwatsystem.metrics import OUTBOX_DROPPED


class Troubles:
    """Thread-safe; `on_problem` is called on the thread that found out, without a lock held."""

    def __init__(self, on_problem: Callable[[Problem], None]) -> None:
        self.tell = on_problem
        self._lock = threading.Lock()
        self._lasting: dict[str, Problem] = {}
        self._dropped: Counter[str] = Counter()

    def begins(self, topic: str, code: ErrorCode, message: str) -> None:
        """Tell it, unless the same topic is wrong already."""
        with self._lock:
            if topic in self._lasting:
                return
            problem = self._lasting[topic] = Problem(code, message)
        self.tell(problem)

    def ends(self, topic: str) -> None:
        """Tell that it is over, if it was wrong."""
        with self._lock:
            problem = self._lasting.pop(topic, None)
        if problem is not None:
            self.tell(Problem(problem.code, f"over: {problem.message}", ended=True))

    def lasts(self, topic: str) -> bool:
        """Whether the topic is wrong now."""
        return topic in self._lasting

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count jobs that will never be done."""
        OUTBOX_DROPPED.labels(reason).inc(count)
        with self._lock:
            self._dropped[reason] += count

    def lasting(self) -> list[str]:
        """What is wrong now, in words."""
        with self._lock:
            return [problem.message for problem in self._lasting.values()]

    def drops(self) -> dict[str, int]:
        """Jobs dropped since the start, by reason."""
        with self._lock:
            return dict(self._dropped)
