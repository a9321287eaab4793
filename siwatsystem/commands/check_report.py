"""What `siwat check` shows and writes: while checks run, and at the end or when it is interrupted."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from siwatsystem.conformance import report
from siwatsystem.conformance.outcomes import Check, Outcome


class CheckReport:
    """Of one run. Only the thread that runs the checks may call it."""

    def __init__(self, url: str, checks: Sequence[Check], *, as_json: bool, junit: Path | None) -> None:
        self._url = url
        self._checks = checks
        self._as_json = as_json
        self._junit = junit
        self._screen = Console(highlight=False, stderr=as_json)
        self._done: list[Outcome] = []
        self._began = time.monotonic()

    def told(self, outcome: Outcome) -> None:
        """One check is through. Programs that read JSON are not told so, people who look on are."""
        self._done.append(outcome)
        if not self._as_json or self._screen.is_terminal:
            self._screen.print(report.line(outcome))

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """The JUnit file, where one is wanted. Raises OSError."""
        if self._junit is not None:
            self._junit.write_text(report.as_junit(self._url, outcomes, self._seconds), encoding="utf-8")

    def show(self, outcomes: Sequence[Outcome]) -> None:
        """The end of a run that is through."""
        if self._as_json:
            print(report.as_json(self._url, outcomes, self._seconds))
        else:
            report.show(self._screen, self._url, outcomes)

    def interrupt(self) -> str:
        """The same for one that is not, and what is to be said of it. Raises OSError."""
        done = {outcome.check.name: outcome for outcome in self._done}
        outcomes = [
            done.get(check.name) or Outcome(check, "skipped", "interrupted") for check in self._checks
        ]
        self.write(outcomes)
        if self._as_json:
            print(report.as_json(self._url, outcomes, self._seconds, interrupted=True))
        else:
            report.show(self._screen, self._url, self._done, missing=len(outcomes) - len(done))
        return f"interrupted after {len(done)} checks"

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began
