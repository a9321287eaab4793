"""The threads of pipelines: real ones, with work that waits until it is let go."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from siwatsystem import pipeline_threads, schedule
from siwatsystem.pipeline_threads import PipelineThreads
from siwatsystem.schedule import Turn

LONG_SEC = 10.0


class Work:
    """What a turn does: counts, and waits while it is held."""

    def __init__(self, threads: PipelineThreads, group: object = "p", interval: float = 0.01) -> None:
        self.done = 0
        self.entered = 0
        self.go = threading.Event()
        self.go.set()
        self._threads = threads
        self.turn: Turn = threads.join(group, self, interval)

    def __call__(self) -> None:
        self.entered += 1
        self.go.wait(LONG_SEC)
        self.done += 1
        self._threads.rest(self.turn)

    def ask(self) -> bool:
        return self.turn.frame(time.monotonic()) and self._threads.ask(self.turn)

    def held(self) -> "Work":
        self.go.clear()
        return self


def soon(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_SEC
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def threads() -> Iterator[PipelineThreads]:
    pool = PipelineThreads(2)
    yield pool
    pool.close()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("pipeline-")]
    assert left == []


def test_work_is_done_in_as_many_threads_as_are_needed(threads: PipelineThreads):
    works = [Work(threads).held() for _ in range(5)]
    for work in works:
        assert work.ask()
    soon(lambda: sum(work.entered for work in works) == 2)
    time.sleep(0.05)
    assert sum(work.entered for work in works) == 2
    for work in works:
        work.go.set()
    soon(lambda: all(work.done == 1 for work in works))


def test_a_pipeline_that_hangs_leaves_the_others_a_thread(threads: PipelineThreads):
    hung = [Work(threads, "hung").held() for _ in range(4)]
    other = Work(threads, "other")
    for work in hung:
        work.ask()
    soon(lambda: sum(work.entered for work in hung) == 1)
    for count in range(1, 6):
        soon(other.ask)
        soon(lambda count=count: other.done == count)
    assert sum(work.entered for work in hung) == 1
    for work in hung:
        work.go.set()


def test_threads_that_are_stuck_are_made_up_for_and_end_when_they_come_back(
    threads: PipelineThreads, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schedule, "STUCK_SEC", 0.05)
    hung = [Work(threads, "hung").held() for _ in range(2)]
    for work in hung:
        work.ask()
    soon(lambda: all(work.entered for work in hung))
    other = Work(threads, "other")
    time.sleep(0.1)
    other.ask()
    soon(lambda: other.done)
    for work in hung:
        work.go.set()
    soon(lambda: sum(thread.name.startswith("pipeline-") for thread in threading.enumerate()) <= 3)


def test_work_that_fails_costs_no_thread(threads: PipelineThreads):
    def fail() -> None:
        raise ValueError("broken")

    for _ in range(4):
        threads.do_once("p", fail)
    work = Work(threads)
    work.ask()
    soon(lambda: work.done)


def test_early_frames_are_looked_after(threads: PipelineThreads, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline_threads, "LOOK_SEC", 0.01)
    work = Work(threads, interval=0.1)
    assert work.ask()
    soon(lambda: work.done == 1)
    assert not work.ask()
    soon(lambda: work.done == 2)
    time.sleep(0.2)
    assert work.done == 2


def test_closing_waits_for_what_is_under_way_and_does_what_is_to_be_done_once():
    threads = PipelineThreads(1)
    first, second = Work(threads, interval=1.0).held(), Work(threads, interval=1.0)
    done = threading.Event()
    first.ask()
    soon(lambda: first.entered)
    second.ask()
    threads.do_once("p", done.set)
    closing = threading.Thread(target=threads.close)
    closing.start()
    soon(threads._closed.is_set)
    time.sleep(0.02)
    assert closing.is_alive()
    first.go.set()
    closing.join(LONG_SEC)
    assert not closing.is_alive()
    assert (first.done, second.done, done.is_set()) == (1, 0, True)


def test_who_left_is_not_taken(threads: PipelineThreads):
    blocking = [Work(threads, interval=1.0).held() for _ in range(2)]
    for work in blocking:
        work.ask()
    soon(lambda: all(work.entered for work in blocking))
    gone = Work(threads)
    assert gone.ask()
    threads.leave(gone.turn)
    for work in blocking:
        work.go.set()
    soon(lambda: all(work.done for work in blocking))
    time.sleep(0.05)
    assert gone.entered == 0
    assert not gone.ask()


def test_without_threads_to_be_had_a_frame_is_not_taken_and_the_next_one_is(
    threads: PipelineThreads, monkeypatch: pytest.MonkeyPatch
):
    start = threading.Thread.start

    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    work = Work(threads)
    monkeypatch.setattr(threading.Thread, "start", none)
    assert work.ask(), "asked for, though nobody can take it yet"
    monkeypatch.setattr(threading.Thread, "start", start)
    other = Work(threads)
    soon(lambda: other.ask() or other.done)
    soon(lambda: work.done and other.done)


def test_a_turn_that_hangs_when_its_loop_ends_does_not_hold_its_group():
    threads = PipelineThreads(2, stuck_sec=0.2)
    other = Work(threads, "other", interval=10.0)  # so that the group never has all threads
    hung, next_one = Work(threads, "hung").held(), Work(threads, "hung")
    hung.ask()
    soon(lambda: hung.entered)
    time.sleep(0.5)
    assert threads.under_way_since(hung.turn) is not None, "that is for its loop to decide"
    next_one.ask()
    assert not next_one.entered
    threads.leave(hung.turn)
    soon(lambda: next_one.done)
    threads.do_once("hung", lambda: hung.go.wait(LONG_SEC))
    time.sleep(0.05)
    soon(next_one.ask)
    soon(lambda: next_one.done == 2)
    hung.go.set()
    soon(threads.may_abandon)
    assert not other.entered
    threads.close()


def test_only_so_many_turns_that_hang_are_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline_threads, "MOST_STUCK", 1)
    threads = PipelineThreads(2, stuck_sec=0.05)
    hung = [Work(threads, number).held() for number in range(3)]
    for work in hung:
        soon(work.ask)
        soon(lambda work=work: work.entered)
        threads.leave(work.turn)
    soon(lambda: not threads.may_abandon())
    time.sleep(0.4)
    assert threads._schedule.abandoned == 2
    for work in hung:
        work.go.set()
    soon(threads.may_abandon)
    threads.close()
