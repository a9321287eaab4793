"""What the demo says in its terminal, and how it ends."""

import asyncio
import io
import os
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console

from demo import __main__ as terminal
from demo.check import Tally
from demo.processes import Process
from demo.site import Site


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=text, highlight=False, width=500))
    return text


def sleeping(log: Path) -> Process:
    """A process that has printed a line and sleeps."""
    code = "import sys, time; print('ready'); sys.stdout.flush(); sys.stderr.write('[/x] a line\\n'); "
    process = Process([sys.executable, "-c", f"{code}sys.stderr.flush(); time.sleep(600)"], log)
    process.first_line(60)
    return process


def test_a_worker_that_is_killed_ends_the_demo(tmp_path: Path, printed: io.StringIO):
    worker = sleeping(tmp_path / "worker.log")
    try:
        site = Site(tmp_path, processes=[worker])
        assert (worker.ending(), site.ended()) == ("", "")
        os.kill(worker.child.pid, signal.SIGKILL)
        worker.child.wait()
        assert asyncio.run(terminal._play(site, asyncio.Event())) == 1  # pyright: ignore[reportPrivateUsage]
        assert "the worker's process was killed by signal 9 (SIGKILL)" in printed.getvalue()
        assert str(worker.log) in printed.getvalue()
        with pytest.raises(RuntimeError, match="SIGKILL"):
            site.ready()
    finally:
        worker.stop()


def test_a_demo_that_is_stopped_ends_well(tmp_path: Path, printed: io.StringIO):
    worker = sleeping(tmp_path / "worker.log")
    try:

        async def scene() -> int:
            stopped = asyncio.Event()
            asyncio.get_running_loop().call_later(0.1, stopped.set)
            return await terminal._play(Site(tmp_path, processes=[worker]), stopped)  # pyright: ignore[reportPrivateUsage]

        assert asyncio.run(scene()) == 0
        assert printed.getvalue() == ""
    finally:
        worker.stop()


def test_how_a_process_ended_is_said_and_only_of_its_own_log(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("what an earlier one said\n")
    process = Process([sys.executable, "-c", "import sys; sys.exit('no more')"], log)
    process.child.wait()
    assert process.ending() == "has ended with status 1"
    assert process.tail() == "no more"
    process.stop()


def test_what_is_over_is_not_told_as_what_fails(printed: io.StringIO):
    show = terminal._printer(Tally({}))  # pyright: ignore[reportPrivateUsage]
    show({"type": "error", "code": "action_failed", "error": "embedded postgresql is away ([Errno 1])"})
    show({"type": "error", "code": "action_failed", "error": "[/b] is back", "resolved": True})
    assert printed.getvalue().splitlines() == [
        "action_failed: embedded postgresql is away ([Errno 1])",
        "action_failed is over: [/b] is back",
    ]
