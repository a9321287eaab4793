"""What is held up at one server by locks of others and by statements that take too long.

That is no outage: other tables, and other rows, are written meanwhile.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from siwatsystem.actions.targets import Target
from siwatsystem.actions.troubles import Troubles

_AVOIDED_SEC = 10.0
"""For how long the jobs of a table that held up several are not tried where others would wait for them."""


@dataclass
class Contention:
    """Thread-safe. Told when it begins for a table, and when nothing of that table is held up any more."""

    target: Target
    troubles: Troubles
    _held: dict[int, str] = field(default_factory=dict[int, str])
    """Tables of the jobs that are held up, by their numbers."""
    _avoided: dict[str, float] = field(default_factory=dict[str, float])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def any(self) -> bool:
        """Whether anything is held up."""
        return bool(self._held)

    def begins(self, seq: int, table: str, words: str, *, slow: bool, again: bool) -> None:
        """A job was held up, by a statement that took too long (`slow`) or by a lock. Told when that
        happens to it `again`: a lock that is gone soon is nothing to tell."""
        with self._lock:
            others = any(held == table for other, held in self._held.items() if other != seq)
            # One lock is likely to be that of a row; several, or a slow statement, are the table's.
            if slow or others:
                self._avoided[table] = time.monotonic() + _AVOIDED_SEC
            self._held[seq] = table
        if not again:
            return
        message = f"{self.target.place}: {table} is held up ({words}); what is written there waits"
        self.troubles.begins(self._topic(table), "action_failed", message)

    def over(self, seq: int) -> None:
        """A job is done with, or given up."""
        if seq not in self._held:
            return
        with self._lock:
            table = self._held.pop(seq, None)
            if table is None or table in self._held.values():
                return
            self._avoided.pop(table, None)
        self.troubles.ends(self._topic(table))

    def prune(self, still: Callable[[set[int]], set[int]]) -> None:
        """Forget jobs that are not among those that `still` wait: somebody dropped them."""
        with self._lock:
            held = set(self._held)
        if held:
            for seq in held - still(held):
                self.over(seq)

    def holds(self, seq: int) -> bool:
        """Whether that job is held up."""
        return seq in self._held

    def avoided(self, table: str) -> bool:
        """Whether jobs of that table are likely to be held up."""
        return self._avoided.get(table, 0.0) > time.monotonic()

    def _topic(self, table: str) -> str:
        return f"held up: {self.target.key} {table}"
