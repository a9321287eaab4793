"""`siwat check` where nothing, or no worker, is checked."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result
from websockets.sync.server import ServerConnection, serve

from siwatsystem.__main__ import app
from siwatsystem.conformance import running
from siwatsystem.conformance.kit import Options
from siwatsystem.conformance.outcomes import Outcome
from tests.fake_worker import fake_worker

STRANGE = "it never sent a stateReport: is this a worker?"


@contextmanager
def served(handler: Callable[[ServerConnection], None]) -> Generator[str]:
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        finally:
            server.shutdown()
            thread.join(10)


def check(*arguments: str, token: str | None = None) -> Result:
    environment = {"COLUMNS": "200", "SIWAT_CONTROL_TOKEN": token}
    return CliRunner().invoke(app, ["check", *arguments], env=environment)


def echo(socket: ServerConnection) -> None:
    for text in socket:
        socket.send(text)


def test_filters_that_leave_nothing_are_told():
    shown = check("ws://127.0.0.1:1/", "--only=state", "--skip=state")
    assert shown.exit_code == 2
    assert "leave no check" in shown.output


def test_a_token_with_its_line_end_works_and_one_with_another_is_not_shown():
    with served(echo) as url:
        shown = check(url, "--only=messages.no-type", token=" sesam\n")
        assert shown.exit_code != 2, shown.output
        assert "sesam" not in shown.output
        shown = check(url, token="ses\nam")
    assert shown.exit_code == 2
    assert "line break" in shown.output
    assert "ses" not in shown.output


def test_a_password_in_the_address_is_not_shown(tmp_path: Path):
    junit = tmp_path / "check.xml"
    with fake_worker() as worker:
        url = worker.url.replace("//", "//me:sesam@")
        for more in ([], ["--json", f"--junit={junit}"]):
            shown = check(url, "--only=messages.no-type", "--slack=3", *more)
            assert shown.exit_code == 0, shown.output
            assert worker.url in shown.output
            assert "sesam" not in shown.output
    assert "sesam" not in junit.read_text()
    for wrong in (url, url.replace("ws:", "http:")):
        shown = check(wrong)
        assert shown.exit_code == 2
        assert "127.0.0.1" in shown.output
        assert "sesam" not in shown.output


def test_what_never_reports_is_not_waited_for():
    only = ["state", "sharing.one-connection", "fields"]
    with served(echo) as url:
        found = running.run(url, running.chosen(only), options=Options(patience=600))
    states = {outcome.check.group: outcome.status for outcome in found}
    assert states == {"state": "failed", "sharing": "skipped", "fields": "skipped"}
    assert {outcome.came for outcome in found if outcome.status == "skipped"} == {STRANGE}


@pytest.mark.parametrize("reason", ["", "too many connections"])
def test_a_worker_without_room_is_asked_once_more(reason: str):
    asked: list[float] = []

    def full(socket: ServerConnection) -> None:
        asked.append(time.monotonic())
        socket.close(1013, reason)

    with served(full) as url:
        shown = check(url)
    assert shown.exit_code == 2, shown.output
    assert "1013" in shown.output
    assert reason in shown.output
    assert "try again later" in shown.output
    assert len(asked) == 2
    assert asked[1] - asked[0] > 1


def test_a_worker_that_goes_away_is_told_once():
    found: list[Outcome] = []
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(fake_worker())

        def told(outcome: Outcome) -> None:
            found.append(outcome)
            if outcome.check.name == "messages.unknown-keys":
                leaving.start()

        leaving = threading.Timer(0.5, stack.close)
        checks = running.chosen(["messages.unknown-keys", "sharing", "session", "image", "fields"])
        running.run(worker.url, checks, options=Options(patience=20), told=told)
        leaving.join()
    (failed,) = [outcome for outcome in found if outcome.status == "failed"]
    assert "the worker went away during" in failed.came
    assert failed.check.name in failed.came
    assert "log" in failed.check.mend
    skipped = {outcome.came for outcome in found if outcome.status == "skipped"}
    assert skipped == {"the worker had gone away"}
    assert len(found) == len(checks)
