"""Threads for branches: what is stuck in one costs a renewal, not the pool."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from siwatsystem.pipeline.branch_threads import BranchThreads
from siwatsystem.supervision import MOST_STUCK


def test_stuck_threads_are_told_and_made_up_for() -> None:
    go, inside = threading.Event(), threading.Semaphore(0)

    def hang() -> str:
        inside.release()
        assert go.wait(30)
        return "late"

    threads = BranchThreads(2, stuck_sec=60.0)
    hung = [threads.submit(hang) for _ in range(2)]
    for _ in hung:
        assert inside.acquire(timeout=30)
    waiting = threads.submit(str, 1)
    now = time.monotonic()
    assert threads.wrong(now) is None
    assert threads.wrong(now + 61) == "2 of 2 threads have been busy for more than 60 s"

    assert threads.renew()
    with pytest.raises(CancelledError):
        waiting.result(30)
    assert threads.wrong(now + 61) is None
    assert threads.submit(str, 2).result(30) == "2"

    go.set()
    assert [one.result(30) for one in hung] == ["late", "late"]
    threads.shutdown()


def test_errors_go_to_who_asked() -> None:
    with BranchThreads(1, stuck_sec=60.0) as threads:
        failing = threads.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            failing.result(30)
        assert threads.wrong(time.monotonic() + 61) is None


def test_only_so_many_pools_may_hang() -> None:
    go, inside = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        inside.release()
        assert go.wait(30)

    threads = BranchThreads(1, stuck_sec=60.0)
    renewed: list[bool] = []
    hung = []
    for _ in range(MOST_STUCK):
        hung.append(threads.submit(hang))
        assert inside.acquire(timeout=30)
        renewed.append(threads.renew())
    assert renewed == [True] * (MOST_STUCK - 1) + [False]
    assert threads.wrong(time.monotonic() + 61) is not None
    go.set()
    for one in hung:
        one.result(30)
    assert threads.renew()
    assert threads.submit(str, 1).result(30) == "1"
    threads.shutdown()
