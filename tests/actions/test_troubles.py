"""What is told once when it begins and once when it ends."""

import pytest

from siwatsystem.actions import troubles
from siwatsystem.actions.base import Problem
from siwatsystem.actions.troubles import Refusal, Troubles

REFUSAL = Refusal("postgresql:1", "postgresql at h:5432", "cars", "22001")


class Bench:
    def __init__(self) -> None:
        self.told: list[tuple[str | None, bool]] = []
        self.troubles = Troubles(lambda problem: self.told.append((problem.subscription, problem.ended)))

    def refuse(self, subscription: str, refusal: Refusal = REFUSAL) -> bool:
        return self.troubles.refused(refusal, Problem("action_failed", "value 'secret'", subscription))


def test_a_refusal_is_told_once_to_each_it_concerns_and_ended_for_each() -> None:
    bench = Bench()
    assert [bench.refuse(name) for name in ("a", "a", "b", "a")] == [True, False, True, False]
    assert bench.troubles.lasting() == ["postgresql at h:5432 refuses cars (22001)"]
    bench.troubles.taken("postgresql:1", "others")
    bench.troubles.taken("postgresql:2", "cars")
    assert bench.told == [("a", False), ("b", False)]
    bench.troubles.taken("postgresql:1", "cars")
    bench.troubles.taken("postgresql:1", "cars")
    assert bench.told[2:] == [("a", True), ("b", True)]
    assert bench.troubles.lasting() == []


def test_other_reasons_and_tables_are_told_apart() -> None:
    bench = Bench()
    bench.refuse("a")
    bench.refuse("a", Refusal("postgresql:1", "p", "cars", "42P01"))
    bench.refuse("a", Refusal("postgresql:1", "p", "others", "22001"))
    assert len(bench.told) == 3
    bench.troubles.taken("postgresql:1", "cars")
    assert bench.told[3:] == [("a", True)] * 2


def test_good_and_bad_in_turn_are_not_told_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(troubles.time, "monotonic", lambda: now)
    bench = Bench()
    for _ in range(50):
        bench.refuse("a")
        bench.troubles.taken("postgresql:1", "cars")
        now += 1
    assert bench.told == [("a", False), ("a", True), ("a", False)]
    now += 60
    bench.troubles.taken("postgresql:1", "cars")
    assert bench.told[3:] == [("a", True)]
