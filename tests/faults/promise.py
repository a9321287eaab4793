"""Promises and what was measured of them: the rows of docs/reliability.md."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


class Unplayable(Exception):
    """A fault that cannot be made on this machine: the reason."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number held against what is promised: at most (or at least) `limit`."""

    name: str
    value: float
    limit: float
    unit: str = ""
    least: bool = False
    """Whether `limit` is the least that the value may be; else the most."""
    timed: bool = False
    """Whether it depends on how busy the machine is: a test allows three times as much, the page does not."""

    @property
    def kept(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def kept_here(self) -> bool:
        """Whether it is kept as far as a test on a busy machine can tell."""
        if not self.timed:
            return self.kept
        return self.value >= self.limit / 3 if self.least else self.value <= 3 * self.limit

    def __str__(self) -> str:
        sign = "≥" if self.least else "≤"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name} {self.value:.4g}{unit} ({sign} {self.limit:g})"


@dataclass(frozen=True, slots=True)
class Length:
    """How long a fault is played: `short` in the tests, else as the promise says."""

    short: bool

    def of(self, short: float, long: float) -> float:
        return short if self.short else long

    def times(self, short: int, long: int) -> int:
        return short if self.short else long


@dataclass(frozen=True)
class Promise:
    """One row: a fault, how it is made, what is promised. `play` makes it in an empty folder, with real
    servers and processes, and returns what was measured."""

    name: str
    fault: str
    made_by: str
    promise: str
    play: Callable[[Path, Length], Sequence[Figure]]
