"""A server that is killed leaves its apps alone; the next one adopts or reaps them, and nobody else."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from siwatsystem.deepstream import groups
from siwatsystem.deepstream.apps import App, Process, Spec
from siwatsystem.deepstream.effects import LaunchApp
from siwatsystem.deepstream.states import AppState
from tests.deepstream.launching import Bench, bench, eventually, gone

PYTHON = [sys.executable, "-u", "{config}"]
ROOT = Path(__file__).parent.parent.parent
SERVER = """
import sys, time
from pathlib import Path
from tests.deepstream.launching import Bench
bench = Bench(Path(sys.argv[1]), [sys.executable, "-u", "{config}"])
for name in sys.argv[3:]:
    bench.launch(Path(sys.argv[2]).read_text(), name)
    print(bench.told.launched().host_pid, flush=True)
time.sleep(600)
"""
SLEEP = "import time\nprint('up')\ntime.sleep(600)\n"
GRACEFUL = (
    "import signal, sys, time\n"
    "def end(*_):\n    print('asked')\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\nprint('up')\nwhile True: time.sleep(1)\n"
)


def app(instance_id: str, pid: int | None, run: int = 1) -> App:
    process = Process(f"proc_{instance_id}", time.time(), host_pid=pid)
    return App(instance_id, Spec("/configs/any"), AppState.RUNNING, process=process, run=run)


def killed_server(folder: Path, script: str, *names: str) -> list[int]:
    """A server launches the script under each name and is killed; the numbers of its apps."""
    text = folder / "script.py"
    text.write_text(script, encoding="utf-8")
    line = [sys.executable, "-c", SERVER, str(folder), str(text), *names]
    server = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server.stdout:
        try:
            pids = [int(server.stdout.readline()) for _ in names]
            for name in names:
                log = folder / "logs" / f"{name}.log"
                eventually(lambda log=log: "up" in log.read_text().splitlines())
        finally:
            server.kill()
            server.wait()
    return pids


@pytest.fixture
def cleaned(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    name = hashlib.sha256(bytes((tmp_path / "logs").resolve())).hexdigest()[:16]
    for pid, _ in groups.marked_leaders(f"APP_RUN={name}:"):
        os.kill(pid, signal.SIGKILL)


def test_an_app_outlives_its_server_and_is_adopted(cleaned: Path):
    (pid,) = killed_server(cleaned, GRACEFUL, "one")
    assert not gone(pid)
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", pid)])
        assert here.told.silent  # the records know its number
        assert "up" in here.lines()
        here.signal("TERM")
        exited = here.told.exited()
        assert (exited.instance_id, exited.run, exited.code) == ("one", 1, None)
        assert exited.log_tail[-1] == "asked"
        assert gone(pid)


def test_what_the_records_do_not_know_yet_is_told(cleaned: Path):
    """The server was killed between the launch and its being written down."""
    (pid,) = killed_server(cleaned, SLEEP, "one")
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", None)])
        launched = here.told.launched()
        assert (launched.host_pid, launched.run) == (pid, 1)
        assert launched.command.endswith("configs/one.py")


def test_an_app_is_found_without_its_file(cleaned: Path):
    (pid,) = killed_server(cleaned, SLEEP, "one")
    (cleaned / "logs" / "one.json").unlink()
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", pid)])
        here.signal("KILL")
        assert here.told.exited().code is None
        assert gone(pid)


@pytest.mark.parametrize("how", ["ended", "another boot", "a file that is none", "no file"])
def test_one_that_is_not_there_any_more_is_told(cleaned: Path, how: str):
    (pid,) = killed_server(cleaned, SLEEP, "one")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))
    file = cleaned / "logs" / "one.json"
    record = json.loads(file.read_text())
    if how == "another boot":
        file.write_text(json.dumps({**record, "boot": "another"}))
    elif how == "a file that is none":
        file.write_text('{"instance_id": 3, "pid": [')
    elif how == "no file":
        file.unlink()
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", pid)])
        exited = here.told.exited()
        assert (exited.code, exited.log_tail[-1]) == (None, "up")


def test_what_nobody_waits_for_is_killed_and_the_rest_is_kept(cleaned: Path):
    pids = killed_server(cleaned, SLEEP, "one", "two", "three")
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("two", pids[1])])
        assert eventually(lambda: gone(pids[0]) and gone(pids[2]))
        assert not gone(pids[1])
        assert here.told.silent
    assert gone(pids[1])


def test_an_earlier_run_is_killed_and_the_later_one_is_told(cleaned: Path):
    """The server was killed between writing down a restart and doing it."""
    (pid,) = killed_server(cleaned, SLEEP, "one")
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", None, run=2)])
        exited = here.told.exited()
        assert (exited.run, exited.code) == (2, None)
        assert eventually(lambda: gone(pid))


@pytest.mark.parametrize("forged", ["its number alone", "its start, too", "of another server"])
def test_a_stranger_with_the_number_of_an_app_is_left_alone(cleaned: Path, forged: str):
    (pid,) = killed_server(cleaned, SLEEP, "one")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))
    variables = (
        {"APP_ID": "one", "APP_RUN": "0123456789abcdef:one#1"} if forged == "of another server" else {}
    )
    stranger = subprocess.Popen(
        ["/bin/sleep", "600"], env={**os.environ, **variables}, start_new_session=True
    )
    try:
        file = cleaned / "logs" / "one.json"
        record = json.loads(file.read_text())
        record["pid"] = stranger.pid
        if forged != "its number alone":
            found = groups.identify(stranger.pid)
            assert found is not None
            record["start"] = found.start
        file.write_text(json.dumps(record))
        with bench(cleaned, PYTHON) as here:
            here.launcher.adopt([app("one", stranger.pid)])
            assert here.told.exited().code is None
            here.signal("KILL")
            assert here.told.exited().code is None
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_an_app_left_behind_while_the_server_was_away_is_killed(cleaned: Path):
    script = (
        "import subprocess, sys, time\n"
        "line = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = subprocess.Popen(line, start_new_session=True)\n"
        "print(f'child {child.pid}')\nprint('up')\ntime.sleep(600)\n"
    )
    (pid,) = killed_server(cleaned, script, "one")
    lines = (cleaned / "logs" / "one.log").read_text().splitlines()
    child = int(next(line for line in lines if line.startswith("child")).split()[1])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))
    assert not gone(child)
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", pid)])
        assert here.told.exited().code is None
        assert eventually(lambda: gone(child))


@pytest.fixture(params=["one call for the group", "an older kernel"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "an older kernel":
        monkeypatch.setattr(groups, "_WHOLE_GROUP", 1 << 20)  # a flag that no kernel knows
    return request.param


FAMILY = (
    "import signal, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(f'child {child.pid}')\nprint('up')\nwhile True: time.sleep(1)\n"
)


def test_a_group_is_signalled_by_every_kernel(cleaned: Path, kernel: str):
    """A child of this server, and one that was adopted."""
    (adopted,) = killed_server(cleaned, FAMILY, "old")
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("old", adopted)])
        here.launch(FAMILY, "new")
        new = here.told.launched().host_pid or 0
        eventually(lambda: "up" in here.lines("new"))
        for name, pid in (("old", adopted), ("new", new)):
            (child,) = [int(line.split()[1]) for line in here.lines(name) if line.startswith("child")]
            here.signal("TERM", name)
            assert here.told.exited().instance_id == name
            assert gone(pid)
            assert eventually(lambda child=child: gone(child))


def test_a_launch_beside_an_adopted_app(cleaned: Path):
    (pid,) = killed_server(cleaned, SLEEP, "one")
    with bench(cleaned, PYTHON) as here:
        here.launcher.adopt([app("one", pid)])
        here.launcher.launch(LaunchApp("two", 1, Spec(here.config("print('two')", "two.py"))))
        assert here.told.launched().instance_id == "two"
        assert here.told.exited().code == 0
        assert not gone(pid)


def test_the_same_folder_at_once(cleaned: Path):
    """Apps do not hold the lock that their server had."""
    killed_server(cleaned, SLEEP, "one")
    Bench(cleaned, PYTHON).launcher.close()
