"""Who is analysed when, by value: a simulated clock, cameras with a rhythm of their own."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from siwatsystem.schedule import STUCK_SEC, Schedule, Turn


def rhythm(fps: float, start: float = 0.0, jitter: float = 0.0, seed: int = 1) -> Iterator[float]:
    """When a camera's frames arrive."""
    moments = random.Random(seed)
    number = 0
    while True:
        yield start + number / fps + moments.uniform(0, jitter)
        number += 1


class Machine:
    """`threads` threads that each take `cost(turn)` seconds for a turn, and cameras that feed turns."""

    def __init__(self, threads: int, cost: Callable[[Turn], float]) -> None:
        self.schedule = Schedule(threads)
        self.taken: dict[Turn, list[float]] = {}
        self._cost = cost
        self._free = threads
        self._numbers = iter(range(10**9))
        self._events: list[tuple[float, int, Callable[[float], None]]] = []

    def add(self, fps: float, rate: float, group: object = "pipeline", **how: float) -> Turn:
        turn = self.schedule.join(group, lambda: None, 1 / rate)
        self.taken[turn] = []
        self._next_frame(turn, rhythm(fps, **how))  # type: ignore[arg-type]
        return turn

    def run(self, seconds: float) -> None:
        while self._events and self._events[0][0] <= seconds:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
            self._take(now)

    def rate(self, turn: Turn, start: float, end: float) -> float:
        return sum(start <= at < end for at in self.taken[turn]) / (end - start)

    def _at(self, moment: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), happen))

    def _next_frame(self, turn: Turn, moments: Iterator[float]) -> None:
        def arrive(now: float) -> None:
            if turn.frame(now):
                self.schedule.ask(turn, now)
            self._next_frame(turn, moments)

        self._at(next(moments), arrive)

    def _take(self, now: float) -> None:
        while self._free and (turn := self.schedule.take(now)) is not None:
            self._free -= 1
            self.taken[turn].append(now)
            self._at(now + self._cost(turn), lambda end, turn=turn: self._end(turn))

    def _end(self, turn: Turn) -> None:
        self._free += 1
        self.schedule.left(turn)
        self.schedule.rest(turn)


@pytest.mark.parametrize(
    ("fps", "rate", "wanted"),
    [
        (25, 2, 2),
        (3, 2, 2),
        (25, 10, 10),
        (10, 10, 10),
        (9.9, 10, 9.9),
        (10.1, 10, 10),
        (1.4, 2, 1.4),
        (25, 50, 25),
    ],
)
def test_the_mean_rate_is_what_was_asked_for_in_whatever_rhythm_frames_come(
    fps: float, rate: float, wanted: float
):
    machine = Machine(4, lambda turn: 0.001)
    turn = machine.add(fps, rate, start=0.3, jitter=0.2 / fps)
    machine.run(120)
    assert machine.rate(turn, 10, 110) == pytest.approx(wanted, rel=0.011)
    assert turn.dropped == 0


def test_frames_are_taken_as_they_arrive():
    machine = Machine(4, lambda turn: 0.001)
    turn = machine.add(25, 2)
    machine.run(20)
    arrivals = {round(number / 25, 6) for number in range(1000)}
    assert {round(at, 6) for at in machine.taken[turn]} <= arrivals


def test_a_stall_is_followed_by_no_burst():
    schedule = Schedule(1)
    turn = schedule.join("p", lambda: None, 0.5)
    moments = [number / 25 for number in range(50)] + [10.01 + number / 25 for number in range(50)]
    asked = [now for now in moments if turn.frame(now) and schedule.ask(turn, now) and done(schedule, now)]
    after = [at for at in asked if at > 10]
    assert after[0] == 10.01
    assert len(after) in (4, 5)
    assert min(later - at for at, later in pairwise(after)) >= 0.125


def done(schedule: Schedule, now: float) -> bool:
    """Whatever asks is taken, and done at once."""
    while (turn := schedule.take(now)) is not None:
        schedule.left(turn)
        schedule.rest(turn)
    return True


def test_cameras_that_begin_together_do_not_come_due_together():
    machine = Machine(64, lambda turn: 0.001)
    for _ in range(64):
        machine.add(100, 2)
    machine.run(10)
    moments = sorted(at for taken in machine.taken.values() for at in taken if 5 <= at < 9)
    crowded = max(sum(at <= other < at + 0.05 for other in moments) for at in moments)
    assert crowded <= 2 * 64 * 2 * 0.05


@pytest.mark.parametrize("count", [3, 17, 64])
@pytest.mark.parametrize("load", [1.1, 1.5, 4.0])
def test_when_there_is_too_little_everybody_gets_the_same(count: int, load: float):
    rate = 10
    cost = 2 * load / (count * rate)
    machine = Machine(2, lambda turn: cost)
    for number in range(count):
        machine.add(15 + number % 11, rate, start=number * 0.0137, jitter=0.01, seed=number)
    machine.run(80)
    rates = [machine.rate(turn, 20, 80) for turn in machine.taken]
    mean = sum(rates) / count
    assert mean == pytest.approx(rate / load, rel=0.03)
    assert min(rates) >= 0.9 * mean
    assert all(turn.dropped for turn in machine.taken)


def test_slow_and_fast_pipelines_are_taken_equally_often():
    machine = Machine(3, lambda turn: 1.0 if turn.group == "slow" else 0.05)
    for number in range(8):
        machine.add(25, 2, "slow", start=number * 0.01)
        machine.add(25, 2, "fast", start=number * 0.02)
    machine.run(120)
    rates: Counter[object] = Counter()
    for turn in machine.taken:
        rates[turn.group] += machine.rate(turn, 20, 120)
    # The slow pipeline may have two of the three threads; the third is the others'.
    assert rates["fast"] >= 8 * 2 * 0.9
    assert rates["slow"] >= 1.8


def test_a_pipeline_that_hangs_takes_not_all_threads():
    schedule = Schedule(4)
    hung = [schedule.join("hung", lambda: None, 1) for _ in range(9)]
    other = schedule.join("other", lambda: None, 1)
    for turn in (*hung, other):
        assert schedule.ask(turn, 0.0)
    taken = [schedule.take(0.0) for _ in range(6)]
    assert taken == [*hung[:3], other, None, None]
    schedule.left(other)
    schedule.rest(other)
    assert not schedule.waits
    assert schedule.ask(other, 2.0)
    assert schedule.waits
    assert schedule.take(2.0) is other


def test_threads_that_are_stuck_are_made_up_for():
    schedule = Schedule(2)
    turns = [schedule.join("alone", lambda: None, 1) for _ in range(3)]
    for turn in turns:
        schedule.ask(turn, 0.0)
    assert [schedule.take(0.0), schedule.take(0.0)] == turns[:2]
    assert schedule.take(0.0) is None
    other = schedule.join("other", lambda: None, 1)
    schedule.ask(other, 1.0)
    assert schedule.threads_wanted(STUCK_SEC) == 2
    assert schedule.threads_wanted(STUCK_SEC + 0.1) == 4
    assert schedule.take(STUCK_SEC + 0.1) is other
    schedule.left(turns[0])
    assert schedule.threads_wanted(STUCK_SEC + 0.2) == 3


def test_a_turn_is_not_taken_again_before_it_rests():
    schedule = Schedule(2)
    turn = schedule.join("p", lambda: None, 1)
    schedule.ask(turn, 0.0)
    assert schedule.take(0.0) is turn
    assert schedule.ask(turn, 3.0)
    schedule.left(turn)
    assert schedule.take(3.0) is None
    schedule.rest(turn)
    assert schedule.take(3.0) is turn
    assert schedule.ask(turn, 6.0)
    schedule.rest(turn)
    assert schedule.take(6.0) is None
    schedule.left(turn)
    assert schedule.take(6.0) is turn


def test_what_left_is_not_taken_and_closing_lets_only_what_is_done_once_through():
    schedule = Schedule(2)
    gone, stays = (schedule.join("p", lambda: None, 1) for _ in range(2))
    for turn in (gone, stays):
        schedule.ask(turn, 0.0)
    schedule.leave(gone)
    schedule.leave(gone)
    assert not schedule.ask(gone, 5.0)
    schedule.do_once("p", lambda: None, 0.0)
    schedule.close()
    once = schedule.take(1.0)
    assert once is not None
    assert once.once
    assert schedule.take(1.0) is None


def test_an_early_frame_is_taken_once_its_slot_is_over():
    schedule = Schedule(1)
    turn = schedule.join("p", lambda: None, 1.0)
    assert turn.frame(0.0)
    assert schedule.ask(turn, 0.0)
    done(schedule, 0.0)
    assert not turn.frame(0.1)
    assert not schedule.ask_overdue(turn, turn.due)
    assert schedule.ask_overdue(turn, turn.due + turn.gap + 0.01)
    assert schedule.take(2.0) is turn
    assert not schedule.ask_overdue(turn, 100.0)


def test_an_idle_turn_keeps_its_slot():
    schedule = Schedule(1)
    turn = schedule.join("p", lambda: None, 1.0)
    schedule.ask(turn, 0.0)
    due = turn.due
    assert schedule.take(0.0) is turn
    schedule.left(turn)
    schedule.rest(turn, idle=True)
    assert turn.frame(0.02)
    assert schedule.ask(turn, 0.02)
    assert turn.due == due


def test_what_is_given_up_frees_its_group_and_its_thread_is_made_up_for():
    schedule = Schedule(2)
    stuck, other = (schedule.join("a", len, 1.0) for _ in range(2))
    schedule.join("b", len, 1.0)  # so that group a never has all threads
    assert schedule.ask(stuck, 0.0)
    assert schedule.take(0.0) is stuck
    assert schedule.ask(other, 0.0)
    assert schedule.take(0.0) is None
    schedule.abandon(stuck)
    assert schedule.threads_wanted(0.0) == 3
    assert schedule.take(0.0) is other
    schedule.left(stuck)
    assert schedule.threads_wanted(0.0) == 2
    assert not schedule.ask(stuck, 10.0)


def test_what_is_under_way_for_nobody_can_be_found_and_given_up_once():
    schedule = Schedule(3)
    stays, ends = (schedule.join("a", len, 1.0) for _ in range(2))
    schedule.join("b", len, 1.0)
    for turn in (stays, ends):
        assert schedule.ask(turn, 0.0)
        assert schedule.take(0.0) is turn
    schedule.leave(ends)
    assert schedule.forsaken(-1.0) == []
    assert schedule.forsaken(0.0) == [ends]  # the other has a loop that looks after it
    schedule.do_once("a", len, 0.0)
    assert schedule.take(1.0) is None  # the group has all that it may have
    schedule.abandon(ends)
    once = schedule.take(1.0)
    assert once is not None
    assert schedule.forsaken(1.0) == [once]
    schedule.abandon(once)
    assert (schedule.forsaken(1.0), schedule.abandoned, schedule.threads_wanted(1.0)) == ([], 2, 5)
    for turn in (ends, once):
        schedule.left(turn)
    assert schedule.abandoned == 0
    assert schedule._turns == {"a": 1, "b": 1}
