"""Restarts within a budget, then `failed`, told once; and back."""

import threading

import pytest
from prometheus_client import REGISTRY

from siwatsystem.config import SupervisionSettings
from siwatsystem.supervision import Failure, RestartBudget, Supervisor, Watched


class Part:
    """A part whose state the test sets."""

    def __init__(self, kind: str = "part") -> None:
        self.wrong: str | None = None
        self.restarts = 0
        self.told: list[str | None] = []
        self.watched = Watched(kind, "one", lambda now: self.wrong, self.restart, self.told.append)

    def restart(self) -> None:
        self.restarts += 1


@pytest.fixture
def told() -> list[Failure]:
    return []


@pytest.fixture
def supervisor(told: list[Failure]) -> Supervisor:
    return Supervisor(SupervisionSettings(restarts=2, window_sec=100), told.append)


def test_budget_is_given_back_with_time() -> None:
    budget = RestartBudget(2, 10.0)
    assert [budget.spend(now) for now in (0.0, 1.0, 2.0, 9.9, 10.0, 10.5, 11.0)] == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip


def test_a_part_that_is_well_is_left_alone(supervisor: Supervisor, told: list[Failure]) -> None:
    part = Part()
    supervisor.watch(part.watched)
    supervisor.check(0.0)
    assert (part.restarts, told, supervisor.status()) == (0, [], [])


def test_restarted_then_failed_then_well(supervisor: Supervisor, told: list[Failure]) -> None:
    part = Part("pump")
    supervisor.watch(part.watched)
    part.wrong = "stands still"
    for now in range(5):
        supervisor.check(float(now))
    assert part.restarts == 2
    assert part.told == ["stands still"]
    assert told == [Failure("pump", "one", "stands still")]
    assert supervisor.status() == [
        {"kind": "pump", "name": "one", "state": "failed", "restarts": 2, "reason": "stands still"}
    ]
    assert REGISTRY.get_sample_value("siwat_failed_parts", {"kind": "pump"}) == 1
    supervisor.check(100.0)  # the first restart is long enough ago: it is tried again
    assert part.restarts == 3
    part.wrong = None
    supervisor.check(101.0)
    assert part.told == ["stands still", None]
    assert told[1:] == [Failure("pump", "one", "stands still", ended=True)]
    assert supervisor.failures() == []
    assert REGISTRY.get_sample_value("siwat_failed_parts", {"kind": "pump"}) == 0


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
    assert "supervisor" not in {thread.name for thread in threading.enumerate()}
