"""Local processes, real ones: launched, signalled, ended, whatever they do."""

import errno
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream import groups
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import LaunchApp
from siwatsystem.deepstream.events import Launched, LaunchFailed
from siwatsystem.deepstream.launcher import LocalLauncher
from siwatsystem.errors import InvalidSetting
from tests.deepstream.launching import SERVER, Bench, bench, eventually, gone

PYTHON = [sys.executable, "-u", "{config}"]
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, PYTHON) as made:
        yield made


def test_an_app_that_ends_is_told_with_its_code_and_its_last_lines(here: Bench):
    here.launch(
        "import sys\nfor n in range(200): print('line', n)\nprint('worse', file=sys.stderr)\nsys.exit(3)"
    )
    launched = here.told.launched()
    assert (launched.instance_id, launched.run) == ("one", 1)
    assert launched.command == f"{sys.executable} -u {here.configs}/one.py"
    assert launched.log_path == str(here.folder / "logs" / "one.log")
    exited = here.told.exited()
    assert (exited.instance_id, exited.run, exited.code) == ("one", 1, 3)
    assert exited.log_tail == (*(f"line {n}" for n in range(151, 200)), "worse")
    assert gone(launched.host_pid or 0)


def test_an_app_is_told_who_it_is_and_gets_nothing_it_need_not_have(
    here: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIWAT_CONTROL_TOKEN", "secret")
    monkeypatch.setenv("SIWAT_OUTBOX__WEBHOOK_SECRETS", '{"https://a.example": "secret"}')
    monkeypatch.setenv("SIWAT_TRACING__HEADERS", '{"authorization": "secret"}')
    monkeypatch.setenv("SIWAT_OUTBOX__WEBHOOK_SECRET_FILES", '{"https://a.example": "/run/a"}')
    monkeypatch.setenv("SIWAT_TARGET_FPS", "5")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    here.launch(
        "import os, resource, sys\n"
        "for name in sorted(os.environ): print(name, '=', os.environ[name])\n"
        "print('core', resource.getrlimit(resource.RLIMIT_CORE))\n"
        "print('leads', os.getsid(0) == os.getpgid(0) == os.getpid())\n"
        "print('stdin', sys.stdin.read() == '')\n"
        "print('files', sorted(os.listdir('/proc/self/fd'))[:3])\n",
        gpu_allocated=(2, 0),
    )
    launched = here.told.launched()
    assert here.told.exited().code == 0
    said = here.lines()
    assert "APP_ID = one" in said
    assert "APP_TOKEN = token-of-one" in said
    assert f"APP_SERVER = {SERVER}" in said
    assert "CUDA_VISIBLE_DEVICES = 2,0" in said
    assert "CUDA_DEVICE_ORDER = PCI_BUS_ID" in said
    assert "SIWAT_TARGET_FPS = 5" in said
    assert not any("secret" in line for line in said)
    assert any("SECRET_FILES" in line for line in said)
    assert "leads True" in said
    assert "stdin True" in said
    assert "token" not in launched.command


def test_an_app_leaves_no_core_dump_behind(here: Bench):
    here.launch("import time; time.sleep(600)")
    pid = here.told.launched().host_pid or 0
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    here.signal("KILL")
    assert here.told.exited().code == -signal.SIGKILL


def test_a_request_to_end_reaches_the_whole_group(here: Bench):
    here.launch(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(f'child {child.pid}', flush=True)\n"
        "time.sleep(600)\n"
    )
    here.told.launched()
    child = int(eventually(lambda: [line for line in here.lines() if line.startswith("child")])[0].split()[1])
    here.signal("TERM")
    assert here.told.exited().code == -signal.SIGTERM
    assert eventually(lambda: gone(child))


def test_an_app_that_ends_well_takes_what_it_started_with_it(here: Bench):
    """In its group or in a session of its own."""
    here.launch(
        "import subprocess, sys\n"
        "for alone in (False, True):\n"
        "    script = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'\n"
        "    line = [sys.executable, '-c', script]\n"
        "    print(f'child {subprocess.Popen(line, start_new_session=alone).pid}', flush=True)\n"
    )
    here.told.launched()
    assert here.told.exited().code == 0
    children = [int(line.split()[1]) for line in here.lines() if line.startswith("child")]
    assert len(children) == 2
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in children)


def test_an_app_that_ignores_a_request_is_killed(here: Bench):
    here.launch(
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "print('up', flush=True)\nwhile True: time.sleep(1)\n"
    )
    here.told.launched()
    eventually(lambda: "up" in here.lines())
    here.signal("TERM")
    eventually(lambda: "no" in here.lines())
    assert here.told.silent
    here.signal("KILL")
    assert here.told.exited().code == -signal.SIGKILL


def test_a_stopped_app_sees_a_request_to_end(here: Bench):
    here.launch(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\nwhile True: time.sleep(1)\n"
    )
    pid = here.told.launched().host_pid or 0
    eventually(lambda: "up" in here.lines())
    os.kill(pid, signal.SIGSTOP)
    here.signal("TERM")
    assert here.told.exited().code == 7


def test_a_signal_to_what_is_not_there_is_answered_with_its_end(here: Bench):
    here.signal("TERM", "never", 4)
    exited = here.told.exited()
    assert (exited.instance_id, exited.run, exited.code) == ("never", 4, None)


def test_a_signal_to_what_is_on_its_way_is_no_end(here: Bench, monkeypatch: pytest.MonkeyPatch):
    """The core says it again once the app is there."""
    reached, goes_on = threading.Event(), threading.Event()

    def slow(name: str) -> str:
        reached.set()
        assert goes_on.wait(20)
        return name

    monkeypatch.setattr(here.launcher._context, "_token_of", slow)
    here.launch(SLEEP)
    assert reached.wait(20)
    here.signal("TERM")
    time.sleep(0.2)
    goes_on.set()
    here.told.launched()
    here.signal("TERM")
    assert here.told.exited().code == -signal.SIGTERM


def test_a_second_run_goes_on_in_the_same_log(here: Bench):
    here.launch("print('first')")
    here.told.launched()
    here.told.exited()
    here.launch("print('second')", run=2)
    here.told.launched()
    assert here.told.exited().run == 2
    assert [line for line in here.lines() if not line.startswith("---")] == ["first", "second"]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (["/nowhere/at/all", "{config}"], "No such file"),
        (["{config}"], "Exec format error"),
        (["/tmp"], "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run_is_told(tmp_path: Path, program: list[str], reason: str):
    with bench(tmp_path, program) as here:
        Path(here.config("\x00\x01not a program\n", "one.py")).chmod(0o755)
        here.launcher.launch(LaunchApp("one", 1, Spec(str(here.configs / "one.py"))))
        failed = here.told.failed()
        assert failed.status == 503
        assert reason in failed.reason
        assert "control.programs" in failed.reason


def test_what_is_refused_is_told_with_its_status(here: Bench):
    here.launcher.launch(LaunchApp("one", 1, Spec("/etc/passwd")))
    failed = here.told.failed()
    assert failed.status == 403
    assert "control.config_folders" in failed.reason


def test_a_log_that_cannot_be_written_is_told(here: Bench):
    (here.folder / "logs" / "one.log").mkdir()
    here.launch("print('up')")
    assert "one.log cannot be written" in here.told.failed().reason


def test_an_end_is_told_only_after_a_while(tmp_path: Path):
    with bench(tmp_path, PYTHON, settle_sec=0.7) as here:
        at = time.monotonic()
        here.launch("pass")
        pid = here.told.launched().host_pid or 0
        here.told.exited()
        assert time.monotonic() - at > 0.7
        assert gone(pid)


def test_our_own_app_understands_its_command_line(tmp_path: Path):
    """It reads its config, which is none, and says so."""
    with bench(tmp_path, PYTHON, programs={}) as here:
        here.launch("not = a config of ours", "one", streams_count=2, additional_args=("--verbose",))
        command = here.told.launched().command
        assert command.endswith(
            f"analyze --verbose --server {SERVER} --config {here.configs}/one.py --streams 2"
        )
        exited = here.told.exited()
        assert exited.code == 2
        assert "one.py" in "".join(exited.log_tail[1:])


def test_a_flood_is_capped_and_its_end_is_there(tmp_path: Path):
    """100 MB, faster than anybody could read them."""
    with bench(tmp_path, PYTHON, app_log_mb=1) as here:
        here.launch(
            "import os\nblock = (b'x' * 99 + b'\\n') * 10000\n"
            "for _ in range(100): os.write(1, block)\n"
            "import time\nwhile os.fstat(1).st_size > 1 << 20: time.sleep(0.02)\n"
            "print('the end', flush=True)\ntime.sleep(600)"
        )
        here.told.launched()
        folder = here.folder / "logs"
        eventually(lambda: here.lines(lines=1) == ("the end",))
        eventually(lambda: sum(path.stat().st_size for path in folder.glob("one.log*")) < 6 * 1024 * 1024)
        here.signal("KILL")
        assert here.told.exited().log_tail[-1] == "the end"


def test_the_end_of_the_server_ends_every_app(tmp_path: Path):
    with bench(tmp_path, PYTHON) as here:
        pids = []
        for name in ("one", "two", "three"):
            here.launch(SLEEP, name)
            pids.append(here.told.launched().host_pid or 0)
        here.launch(SLEEP, "late")  # perhaps it has not begun yet
    assert all(gone(pid) for pid in pids)
    assert not groups.marked_leaders(f"APP_RUN={here.launcher._context.folder.name}:")
    assert not [thread for thread in threading.enumerate() if thread.name == "app-watch"]


def test_what_the_watching_stumbles_over_is_told_and_ends_are_told_on(
    here: Bench, monkeypatch: pytest.MonkeyPatch
):
    end, failed = groups.Group.end, threading.Event()

    def fails_once(group: groups.Group) -> None:
        end(group)
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a process that nobody thought of")

    monkeypatch.setattr(groups.Group, "end", fails_once)
    assert here.launcher.problem is None
    for run in (1, 2):
        here.launch("import sys; sys.exit(3)", run=run)
        here.told.launched()
        assert here.told.exited().code == 3, run
        if run == 1:
            problem = eventually(lambda: here.launcher.problem, "a problem")
            assert problem.endswith("RuntimeError: a process that nobody thought of")
    eventually(lambda: here.launcher.problem is None, "the problem's end")


def test_an_app_that_cannot_be_watched_keeps_no_other_from_it(here: Bench, monkeypatch: pytest.MonkeyPatch):
    selector = here.launcher._processes._selector
    register, full = selector.register, threading.Event()
    full.set()

    def refused(descriptor: int, events: int, data: Any = None) -> Any:
        if data.key[0] == "one" and full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return register(descriptor, events, data)

    monkeypatch.setattr(selector, "register", refused)
    for name in ("one", "two", "three"):
        here.launch("import sys; sys.exit(3)", name)
        here.told.launched()
    assert {here.told.exited().instance_id for _ in range(2)} == {"two", "three"}
    assert "No space left" in eventually(lambda: here.launcher.problem, "a problem")
    full.clear()
    last = here.told.exited()
    assert (last.instance_id, last.code) == ("one", 3)
    eventually(lambda: here.launcher.problem is None, "the problem's end")


def test_two_servers_do_not_share_a_folder(here: Bench):
    with pytest.raises(InvalidSetting, match="another control server"):
        LocalLauncher(here.settings, SERVER, here.told)


def test_a_folder_that_cannot_be_made_is_a_bad_setting(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSetting, match=r"control\.app_logs"):
        LocalLauncher(ControlSettings(app_logs=tmp_path / "file" / "logs"), SERVER, print)


def test_what_was_cleaned_up_leaves_no_log(here: Bench):
    here.launch("print('up')")
    here.told.launched()
    here.told.exited()
    assert here.lines()
    here.launcher.forget("one")
    eventually(lambda: not here.lines())
    assert {path.name for path in (here.folder / "logs").iterdir()} == {".lock"}


@pytest.mark.parametrize("process_id", ["proc_../../configs/one", "proc_", "proc_nobody", "/etc/passwd", ""])
def test_logs_of_nobody_are_empty(here: Bench, process_id: str):
    assert here.launcher.logs(process_id).lines == ()


def test_an_app_that_nobody_could_watch_does_not_run(here: Bench):
    """All descriptors but those that a launch itself needs are taken."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    marker = here.folder / "it ran"
    refused = 0
    first = os.dup(0)
    os.close(first)
    try:
        for room in range(1, 14):
            resource.setrlimit(resource.RLIMIT_NOFILE, (first + room, limit[1]))
            here.launch(f"import time\ntime.sleep(5)\nopen({str(marker)!r}, 'w')", f"app{room}")
            news = here.told.next()
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            refused += isinstance(news, LaunchFailed)
            if isinstance(news, Launched):
                here.signal("KILL", f"app{room}")
                assert here.told.exited().code == -signal.SIGKILL
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert refused
    prefix = f"APP_RUN={here.launcher._context.folder.name}:"
    assert not groups.marked_leaders(prefix)
    assert not marker.exists()
