"""The threads that branches run in, shared by all pipelines, and made up for when they are stuck."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from siwatsystem.supervision import MOST_STUCK

Given = ParamSpec("Given")
Result = TypeVar("Result")


class BranchThreads(Executor):
    """A pool of `count` threads that can be had anew. Every method may be called from any thread."""

    def __init__(self, count: int, stuck_sec: float) -> None:
        """Work that takes longer than `stuck_sec` holds its thread for good."""
        self._count = count
        self._stuck_sec = stuck_sec
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._since: dict[int, float] = {}
        """What is under way in the pool, by number: when it began (`time.monotonic()`)."""
        self._left: list[dict[int, float]] = []
        """The same of the pools that were replaced, as long as any is under way there."""
        self._pool = self._new()

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> "Future[Result]":
        """As of a pool. The future is cancelled where the pool is replaced before its turn comes."""

        def noted(under_way: dict[int, float]) -> Result:
            number = next(self._numbers)
            under_way[number] = time.monotonic()
            try:
                return fn(*args, **kwargs)
            finally:
                del under_way[number]

        with self._lock:
            return self._pool.submit(noted, self._since)

    def wrong(self, now: float) -> str | None:
        """Whether threads are stuck, in words."""
        stuck = sum(now - since > self._stuck_sec for since in list(self._since.values()))
        if not stuck:
            return None
        return f"{stuck} of {self._count} threads have been busy for more than {self._stuck_sec:g} s"

    def renew(self) -> bool:
        """Go on with as many new threads; what is under way is left alone, what waits is cancelled. False
        where too many pools hang already."""
        with self._lock:
            left = [one for one in (*self._left, self._since) if one]
            if len(left) >= MOST_STUCK:
                return False
            old, self._pool = self._pool, self._new()
            self._left, self._since = left, {}
        old.shutdown(wait=False, cancel_futures=True)
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of a pool."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def _new(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._count, thread_name_prefix="branch")
