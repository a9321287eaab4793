"""Restarts within a budget, then `failed`, told once; and back."""

import threading
import time
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from siwatsystem import supervision
from siwatsystem.config import SupervisionSettings
from siwatsystem.supervision import Failure, RestartBudget, Supervisor, Watched
from tests.servers import until


class Part:
    """A part whose state the test sets."""

    def __init__(self, kind: str = "part") -> None:
        self.wrong: str | None = None
        self.restarts = 0
        self.can_restart = True
        self.told: list[str | None] = []
        self.watched = Watched(kind, "one", lambda now: self.wrong, self.restart, self.told.append)

    def restart(self) -> bool:
        self.restarts += self.can_restart
        return self.can_restart


@pytest.fixture
def told() -> list[Failure]:
    return []


@pytest.fixture
def supervisor(told: list[Failure]) -> Supervisor:
    return Supervisor(SupervisionSettings(restarts=2, window_sec=100), told.append)


def test_budget_is_given_back_with_time() -> None:
    budget = RestartBudget(2, 100.0)
    assert [budget.spend(now) for now in (0.0, 10.0, 20.0, 99.0, 100.0, 105.0, 110.0)] == [
        "spent", "spent", "used up", "used up", "spent", "used up", "spent",
    ]  # fmt: skip


def test_budget_is_spent_further_and_further_apart_but_begun_at_once() -> None:
    budget = RestartBudget(4, 600.0)
    spent = [now for now in range(599) if budget.spend(float(now)) == "spent"]
    assert spent == [0, 5, 35, 65]
    assert budget.spend(599.9) == "used up"
    assert budget.spend(600.0) == "spent"
    small = RestartBudget(3, 6.0)  # never so far apart that what it allows could not be had
    assert [now for now in range(6) if small.spend(float(now)) == "spent"] == [0, 2, 4]


def test_a_part_that_is_well_is_left_alone(supervisor: Supervisor, told: list[Failure]) -> None:
    part = Part()
    supervisor.watch(part.watched)
    supervisor.check(0.0)
    assert (part.restarts, told, supervisor.status()) == (0, [], [])


def test_restarted_then_failed_then_well(supervisor: Supervisor, told: list[Failure]) -> None:
    part = Part("pump")
    supervisor.watch(part.watched)
    part.wrong = "stands still"
    for now in range(7):
        supervisor.check(float(now))
        assert part.restarts == (1 if now < 5 else 2)
    assert part.told == ["stands still"]
    assert told == [Failure("pump", "one", "stands still")]
    assert supervisor.status() == [
        {"kind": "pump", "name": "one", "state": "failed", "restarts": 2, "reason": "stands still"}
    ]
    assert REGISTRY.get_sample_value("siwat_failed_parts", {"kind": "pump"}) == 1
    supervisor.check(100.0)  # the first restart is long enough ago: it is tried again
    assert part.restarts == 3
    part.wrong = None
    for now in (101.0, 125.0, 150.9):  # it need not be restarted more often than twice in 100 s any more
        supervisor.check(now)
        assert part.told == ["stands still"]
    supervisor.check(151.0)
    assert part.told == ["stands still", None]
    assert told[1:] == [Failure("pump", "one", "stands still", ended=True)]
    assert supervisor.failures() == []
    assert REGISTRY.get_sample_value("siwat_failed_parts", {"kind": "pump"}) == 0


def test_one_that_hangs_after_each_restart_is_told_once(supervisor: Supervisor, told: list[Failure]) -> None:
    part = Part()
    supervisor.watch(part.watched)
    restarts, restarted_at = 0, -100.0
    for now in range(1000):
        if part.restarts > restarts:
            restarts, restarted_at = part.restarts, now
        part.wrong = "hangs" if now - restarted_at > 20 else None  # it lives for a while each time
        supervisor.check(float(now))
    assert part.restarts > 10
    assert told == [Failure("part", "one", "hangs")]


def test_one_that_cannot_be_restarted_has_failed_and_has_spent_nothing(
    supervisor: Supervisor, told: list[Failure]
) -> None:
    part = Part()
    supervisor.watch(part.watched)
    part.wrong, part.can_restart = "no room", False
    for now in range(5):
        supervisor.check(float(now))
    assert told == [Failure("part", "one", "no room")]
    assert supervisor.status()[0]["restarts"] == 0
    part.can_restart = True
    for now in range(5, 15):
        supervisor.check(float(now))
    assert part.restarts == supervisor.status()[0]["restarts"] == 2


def test_one_that_comes_back_in_the_moment_of_its_restart_has_not_failed(
    supervisor: Supervisor, told: list[Failure]
) -> None:
    reasons: list[str | None] = ["stands still", None]
    supervisor.watch(Watched("part", "one", lambda now: reasons.pop(0), lambda: False))
    supervisor.check(0.0)
    assert (reasons, told, supervisor.status()) == ([], [], [])


def test_a_name_that_another_has_is_told_with_its_detail(supervisor: Supervisor) -> None:
    for name, detail in (("yolo", "1a"), ("yolo", "2b"), ("other", "3c")):
        supervisor.watch(Watched("model", name, lambda now: "hangs", lambda: False, detail=detail))
    supervisor.check(0.0)
    assert [part["name"] for part in supervisor.status()] == ["yolo", "yolo (2b)", "other"]


def test_closing_waits_for_no_look_that_hangs_and_restarts_nothing_afterwards(supervisor: Supervisor) -> None:
    go, hangs = threading.Event(), threading.Event()

    def look(now: float) -> None:
        hangs.set()
        assert go.wait(30)

    supervisor.watch(Watched("part", "hangs", look, lambda: None))
    part = Part()
    part.wrong = "dead"
    supervisor.watch(part.watched)
    supervisor.start()
    assert hangs.wait(30)
    began = time.perf_counter()
    supervisor.close()
    assert time.perf_counter() - began < 0.5
    go.set()
    until(lambda: "supervisor" not in {thread.name for thread in threading.enumerate()})
    assert part.restarts == 0


def test_what_has_failed_is_over_when_nobody_needs_it_any_more(
    supervisor: Supervisor, told: list[Failure]
) -> None:
    part = Part("valve")
    forget = supervisor.watch(part.watched)
    part.wrong, part.can_restart = "stuck", False
    supervisor.check(0.0)
    forget()
    forget()
    assert [failure.ended for failure in told] == [False, True]
    assert REGISTRY.get_sample_value("siwat_failed_parts", {"kind": "valve"}) == 0


def test_a_process_that_stood_still_has_time_to_go_on(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What seems stuck right after it need not be."""
    looks: list[float] = []
    monkeypatch.setattr(supervision, "LATE_SEC", 0.2)
    supervisor.watch(Watched("part", "one", looks.append, lambda: None))
    clock = [0.0]
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(supervision, "LOOK_SEC", 0.01)
    supervisor.start()
    until(lambda: looks)
    clock[0] = 3600.0
    began = time.perf_counter()
    until(lambda: looks[-1] == 3600.0)
    supervisor.close()
    assert time.perf_counter() - began > 0.15


def test_a_look_that_hangs_is_shown(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    go, hangs = threading.Event(), threading.Event()

    def look(now: float) -> None:
        hangs.set()
        assert go.wait(30)

    supervisor.watch(Watched("part", "one", look, lambda: None))
    supervisor.start()
    assert hangs.wait(30)
    assert supervisor.failures() == []
    monkeypatch.setattr(supervision, "HUNG_SEC", 0.0)
    assert "nothing is looked after" in str(supervisor.failures()[0])
    go.set()
    supervisor.close()
    assert supervisor.failures() == []


def test_a_forgotten_part_is_not_looked_at(supervisor: Supervisor) -> None:
    part = Part()
    forget = supervisor.watch(part.watched)
    forget()
    forget()
    part.wrong = "gone"
    supervisor.check(0.0)
    assert part.restarts == 0


def test_one_that_cannot_be_looked_at_costs_the_others_nothing(supervisor: Supervisor) -> None:
    def broken(now: float) -> str | None:
        raise RuntimeError

    supervisor.watch(Watched("part", "broken", broken, lambda: None))
    part = Part()
    supervisor.watch(part.watched)
    part.wrong = "dead"
    supervisor.check(0.0)
    assert part.restarts == 1


def test_the_thread_looks_by_itself(supervisor: Supervisor) -> None:
    looked = threading.Event()
    part = Part()
    supervisor.watch(Watched("part", "one", lambda now: looked.set(), part.restart))
    supervisor.start()
    assert looked.wait(10)
    supervisor.close()
    until(lambda: "supervisor" not in {thread.name for thread in threading.enumerate()})
