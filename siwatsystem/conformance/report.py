"""Outcomes for people and for programs: text, JSON, JUnit XML."""

import json
import re
import xml.etree.ElementTree as ElementTree  # nosec B405 # written, never read
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from siwatsystem.conformance.outcomes import Check, Outcome, Status, failed
from siwatsystem.urls import bare

COLOURS: dict[Status, str] = {"passed": "green", "failed": "red", "noted": "yellow", "skipped": "dim"}
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, not even escaped."""


def line(outcome: Outcome) -> str:
    """One line for the terminal, with rich's markup."""
    colour = COLOURS[outcome.status]
    came = "" if outcome.status in ("passed", "failed") else f"  [dim]{escape(outcome.came)}[/]"
    return f"[{colour}]{outcome.status:8}[/] {outcome.check.name:30} {outcome.seconds:5.1f} s{came}"


def show(console: Console, url: str, outcomes: Sequence[Outcome], *, missing: int = 0) -> None:
    """What failed, with what was expected, what came and how to mend it; then the sum, and what follows from
    it where the run was not interrupted, and left so many `missing`."""
    for outcome in outcomes:
        if outcome.status == "failed":
            console.print(f"\n[red bold]{outcome.check.name}[/]")
            for title, text in _explained(outcome):
                console.print(f"  [bold]{title:9}[/] {escape(text)}", soft_wrap=True)
    counts = Counter(outcome.status for outcome in outcomes)
    parts = ", ".join(f"{counts[status]} {status}" for status in COLOURS if counts[status])
    verdict = " [red]does not speak[/] the protocol" if failed(outcomes) else " [green]speaks[/] the protocol"
    verdict = "" if missing else verdict
    rest = f", [yellow]{missing} not checked[/]" if missing else ""
    console.print(f"\n{escape(bare(url))}{verdict}: {parts or 'nothing was checked'}{rest}", soft_wrap=True)


def _explained(outcome: Outcome) -> list[tuple[str, str]]:
    check = outcome.check
    return [("expected", check.expects), ("came", outcome.came), ("mend", check.mend)]


def listing(console: Console, checks: Sequence[Check]) -> None:
    """All checks, with what they expect."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, escape(check.expects))
    console.print(table)


def as_json(url: str, outcomes: Sequence[Outcome], seconds: float = 0.0, *, interrupted: bool = False) -> str:
    """Everything, as one JSON object; `seconds` is what the whole run took. What is interrupted is not
    passed."""
    checks: list[dict[str, Any]] = [
        {
            "name": outcome.check.name,
            "status": outcome.status,
            "expected": outcome.check.expects,
            "came": outcome.came,
            "mend": outcome.check.mend,
            "seconds": round(outcome.seconds, 3),
        }
        for outcome in outcomes
    ]
    whole = {
        "url": bare(url),
        "passed": failed(outcomes) == 0 and not interrupted,
        "interrupted": interrupted,
        "seconds": round(seconds, 3),
        "checks": checks,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1)


def as_junit(url: str, outcomes: Sequence[Outcome], seconds: float = 0.0) -> str:
    """JUnit XML, as CI servers read it: a test case for each check; what is noted counts as skipped.
    `seconds` is what the whole run took: checks run side by side."""
    counts = Counter(outcome.status for outcome in outcomes)
    suite = ElementTree.Element(
        "testsuite",
        name="siwat check",
        hostname=_text(bare(url)),
        tests=str(len(outcomes)),
        failures=str(counts["failed"]),
        errors="0",
        skipped=str(counts["skipped"] + counts["noted"]),
        time=f"{seconds:.3f}",
    )
    for outcome in outcomes:
        group, _, name = outcome.check.name.partition(".")
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"check.{group}", name=name, time=f"{outcome.seconds:.3f}"
        )
        if outcome.status == "failed":
            problem = ElementTree.SubElement(case, "failure", message=_text(outcome.came))
            problem.text = _text("\n".join(f"{title}: {text}" for title, text in _explained(outcome)))
        elif outcome.status != "passed":
            ElementTree.SubElement(case, "skipped", message=_text(f"{outcome.status}: {outcome.came}"))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _text(value: str) -> str:
    return _NO_XML.sub("\ufffd", value)
