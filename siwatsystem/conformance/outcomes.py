"""What a check is, and what comes of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from siwatsystem.conformance.kit import Kit

Status = Literal["passed", "failed", "noted", "skipped"]
"""`noted`: an extension that the worker does not have; a backend must not need it."""

Run = Callable[["Kit"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the protocol. `expects` and `mend` are sentences for who reads the report."""

    name: str
    expects: str
    mend: str
    run: Run

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`came`: what was there instead, or what there is to say."""

    check: Check
    status: Status
    came: str = ""
    seconds: float = 0.0


class Failed(Exception):
    """What came is not what the protocol promises."""


class Closed(Failed):
    """The worker closed a connection of the check, or it broke."""


class Noted(Exception):
    """An extension is not there."""


class Skipped(Exception):
    """The check says nothing here, and why."""


CheckMaker = Callable[[Run], Run]


class Group:
    """Collects the checks of a file, in the order in which they run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []

    def check(self, name: str, *, expects: str, mend: str) -> CheckMaker:
        """Registers a function that raises Failed, Noted or Skipped."""

        def register(run: Run) -> Run:
            self.checks.append(Check(f"{self.name}.{name}", expects, mend, run))
            return run

        return register


def failed(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.status == "failed" for outcome in outcomes)
