"""`siwat check` that is interrupted: one line, what was found so far, and the files."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from siwatsystem.conformance import running
from tests.fake_worker import fake_worker

ONLY = ["--only=messages", "--only=connections.grace-ends"]
CHECKS = running.chosen([one.partition("=")[2] for one in ONLY])
DEFECT = "closes on unknown types"
"""What fails before the check that takes longest."""


@contextmanager
def started(
    *arguments: str, stderr: int = subprocess.PIPE, **environment: str
) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "siwatsystem", "check", *arguments, "--grace=600"]
    env = {**os.environ, "COLUMNS": "200", **environment}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], word: str) -> str:
    """What it printed up to there."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if word in line:
            return text
    raise AssertionError(text)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_found_so_far_is_told(number: signal.Signals, status: int, tmp_path: Path):
    junit = tmp_path / "check.xml"
    with fake_worker(DEFECT) as worker, started(worker.url, *ONLY, f"--junit={junit}") as process:
        wait_for(process, "messages.unknown-keys")
        process.send_signal(number)
        shown, said = process.communicate(timeout=60)
    done = len(CHECKS) - 1
    assert (process.returncode, said) == (status, f"siwat: interrupted after {done} checks\n")
    assert "messages.unknown-type\n  expected" in shown
    assert f"{worker.url}: {done - 1} passed, 1 failed, 1 not checked" in shown
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(done + 1), "1", "1")


def test_programs_get_their_json():
    with fake_worker(DEFECT) as worker, started(worker.url, *ONLY, "--json") as process:
        until(lambda: worker.worker.held)
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == f"siwat: interrupted after {len(CHECKS) - 1} checks\n"
    found = json.loads(shown)
    assert (found["passed"], found["interrupted"]) == (False, True)
    states = {one["name"]: one["status"] for one in found["checks"]}
    assert states["messages.unknown-type"] == "failed"
    assert states["connections.grace-ends"] == "skipped"
    assert [check.name for check in CHECKS] == list(states)


@pytest.mark.parametrize("slow", ["typer", "websockets"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_it_is_being_imported_it_ends_with_one_line(
    slow: str, number: signal.Signals, status: int, tmp_path: Path
):
    (tmp_path / f"{slow}.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    with started("ws://127.0.0.1:1/", PYTHONPATH=str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (status, "siwat: interrupted\n")


def test_who_looks_on_sees_how_far_it_is_while_a_program_waits_for_json():
    ours, theirs = pty.openpty()
    with fake_worker() as worker, started(worker.url, *ONLY, "--json", stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"messages.unknown-keys" not in shown:
            shown += os.read(ours, 4096)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
        os.close(ours)
    assert b"messages.not-json" in shown
    assert json.loads(printed)["interrupted"]


def test_what_is_ignored_from_the_start_stays_so():
    """As Ctrl-C is by what a script runs in the background."""
    code = (
        "import signal, sys\n"
        "from siwatsystem import interrupts\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "before = signal.getsignal(signal.SIGTERM)\n"
        "interrupts.begin()\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "assert signal.getsignal(signal.SIGTERM) is not before\n"
        "interrupts.started()\n"
        "assert signal.getsignal(signal.SIGTERM) is before\n"
        "with interrupts.answered():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
