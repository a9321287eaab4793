"""Reports: for people, as JSON, and as JUnit XML whatever a worker said."""

import io
import json
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console
from typer.testing import CliRunner

from siwatsystem.__main__ import app
from siwatsystem.conformance import report, running
from siwatsystem.conformance.outcomes import Check, Outcome
from tests.fake_worker import fake_worker


async def nothing(_: object) -> None:
    pass


CHECK = Check("state.heartbeat", "a report every 2 s", "use a timer", nothing)
EVIL = 'came "<b>" & [red]x[/] ]]> \x00\x1b[31m \ud800 ü'
OUTCOMES = [
    Outcome(CHECK, "passed", seconds=0.25),
    Outcome(CHECK, "failed", EVIL, 1),
    Outcome(CHECK, "noted", EVIL),
    Outcome(CHECK, "skipped", EVIL),
]


def test_junit_holds_whatever_a_worker_said():
    text = report.as_junit("ws://x/<&>", OUTCOMES, 0.75)
    root = ElementTree.fromstring(text.encode())
    suite = root[0]
    assert root.tag == "testsuites"
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "4",
        "failures": "1",
        "skipped": "2",
        "errors": "0",
    }
    assert suite.get("time") == "0.750", "checks run side by side: their sum says nothing"
    assert suite.get("hostname") == "ws://x/<&>"
    assert [(case.get("classname"), case.get("name")) for case in suite] == [("check.state", "heartbeat")] * 4
    failure = suite[1][0]
    assert failure.get("message") == 'came "<b>" & [red]x[/] ]]> \ufffd\ufffd[31m \ufffd ü'
    assert "mend: use a timer" in (failure.text or "")
    assert suite[2][0].get("message", "").startswith("noted: ")


def test_json_says_all():
    found = json.loads(report.as_json("ws://x/", OUTCOMES).encode("utf-8", "replace"))
    assert found["passed"] is False
    assert [one["status"] for one in found["checks"]] == ["passed", "failed", "noted", "skipped"]
    assert found["checks"][1]["mend"] == "use a timer"
    assert json.loads(report.as_json("ws://x/", OUTCOMES[:1]))["passed"] is True


def test_people_are_told_what_was_expected_what_came_and_how_to_mend_it():
    shown = io.StringIO()
    report.show(
        Console(file=shown, width=40), "ws://x/", [OUTCOMES[0], Outcome(CHECK, "failed", "[red]no[/]")]
    )
    text = shown.getvalue()
    assert "expected  a report every 2 s" in text
    assert "came      [red]no[/]" in text
    assert "mend      use a timer" in text
    assert "does not speak the protocol: 1 passed, 1 failed" in text


def test_checks_are_chosen_by_name_group_and_pattern():
    names = [check.name for check in running.chosen(["state", "messages.no-*"], ["*.heartbeat"])]
    assert names == ["state.at-once", "state.request", "messages.no-type", "messages.no-payload"]
    with pytest.raises(ValueError, match="dance"):
        running.chosen(["dance"])


def test_the_command_says_which_checks_there_are():
    shown = CliRunner().invoke(app, ["check", "--list"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(check.name in shown.output for check in running.CHECKS)


def test_the_command_ends_with_1_where_something_failed():
    with fake_worker("closes on unknown types") as worker:
        shown = CliRunner().invoke(app, ["check", worker.url, "--only=messages", "--slack=3"])
    assert shown.exit_code == 1, shown.output
    assert "messages.unknown-type" in shown.output
    assert "the worker closed the connection (1003" in shown.output
