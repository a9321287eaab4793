"""`siwat check` on the real worker, as an integrator runs it."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from siwatsystem.__main__ import app
from siwatsystem.conformance import running
from tests.acceptance.worker import ROOT, WorkerProcess, worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("worker")
    with worker(folder, SIWAT_DISCONNECT_GRACE_SEC="3", SIWAT_CONTROL_TOKEN="right" * 8) as running_one:
        yield running_one


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "siwatsystem", "check", *arguments, "--token", "right" * 8]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


def test_our_own_worker_speaks_the_protocol(process: WorkerProcess, tmp_path: Path):
    report = tmp_path / "check.xml"
    done = check(
        f"ws://127.0.0.1:{process.port}/", "--grace=3", "--slack=3", "--json", "--junit", str(report)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert set(found) == {one.name for one in running.CHECKS}
    # On a machine that is busy with other things the load may give too little to compare.
    others = {name: one for name, one in found.items() if one["status"] != "passed"}
    assert set(others) <= {"overload.fair-shares"}, others
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("tests")) == ("0", str(len(found)))


def test_what_cannot_be_checked_is_told_with_status_2(process: WorkerProcess):
    url = f"ws://127.0.0.1:{process.port}/"
    for arguments, text in (
        (["--only=state.dance", url], "no check is called state.dance"),
        (["http://127.0.0.1/"], "an address like ws://"),
        (["ws://127.0.0.1:99999/"], "an address like ws://"),
        (["ws://127.0.0.1:1/"], "127.0.0.1:1"),
        (["ws://no.such.name.invalid/"], "no.such.name.invalid"),
        ([url, "--junit=/no/such/folder/check.xml"], "/no/such/folder/check.xml: No such file"),
        ([url, "--token=wrong"], "the token is missing, wrong,"),
    ):
        done = CliRunner().invoke(app, ["check", *arguments])
        assert done.exit_code == 2, done.output
        assert text in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
