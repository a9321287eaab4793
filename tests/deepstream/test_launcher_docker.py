"""Apps in containers: Docker's own client against a stand-in for the engine, as none runs here."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.deepstream.apps import App, Process, Spec
from siwatsystem.deepstream.effects import LaunchApp
from siwatsystem.deepstream.states import AppState
from tests.deepstream.docker_engine import FakeEngine
from tests.deepstream.launching import SERVER, Bench, bench, eventually, gone

PYTHON = [sys.executable, "-u", "{config}"]
UP = "import time\nprint('up')\ntime.sleep(600)\n"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    states = {"ds": "running", "off": "exited", "frozen": "paused"}
    with FakeEngine(tmp_path / "docker.sock", states) as made:
        yield made
        made.end()


def settings(engine: FakeEngine) -> dict[str, Any]:
    return {"docker": True, "docker_socket": engine.socket, "container_programs": {"*": PYTHON}}


@pytest.fixture
def here(tmp_path: Path, engine: FakeEngine) -> Iterator[Bench]:
    with bench(tmp_path, PYTHON, **settings(engine)) as made:
        yield made


def test_an_app_runs_in_a_container_and_is_told_who_it_is(here: Bench, engine: FakeEngine):
    here.launch(
        "import os, sys\nfor name, value in sorted(os.environ.items()): print(name, '=', value)\n"
        "import time\ntime.sleep(0.3)\nprint('worse', file=sys.stderr)\nsys.exit(3)",
        docker_container="ds",
        gpu_allocated=(1,),
    )
    launched = here.told.launched()
    (run,) = engine.apps
    assert run.process is not None
    assert (launched.host_pid, launched.container_pid) == (run.process.pid, run.process.pid)
    assert launched.command.startswith("docker exec ds ")
    assert run.container == "ds"
    assert run.arguments[:4] == ["sh", "-c", 'echo "$$" && exec "$@"', "sh"]
    assert run.arguments[4:] == [sys.executable, "-u", str(here.configs / "one.py")]
    exited = here.told.exited()
    assert exited.code == 3
    said = here.lines()
    assert "worse" in said
    for name, value in {
        "APP_ID": "one",
        "APP_TOKEN": "token-of-one",
        "APP_SERVER": SERVER,
        "CUDA_VISIBLE_DEVICES": "1",
    }.items():
        assert f"{name} = {value}" in said
    assert not any(line.startswith(("APP_RUN", str(launched.host_pid))) for line in said)


@pytest.mark.parametrize(
    ("container", "status", "reason"),
    [
        ("nowhere", 404, "there is no container nowhere"),
        ("off", 409, "container off does not run (exited)"),
        ("frozen", 409, "container frozen does not run (paused)"),
    ],
)
def test_a_container_that_cannot_be_entered_is_told(here: Bench, container: str, status: int, reason: str):
    here.launch(UP, docker_container=container)
    failed = here.told.failed()
    assert (failed.status, failed.reason) == (status, reason)


def test_without_an_engine_it_is_told_and_works_once_there_is_one(tmp_path: Path):
    engine = FakeEngine(tmp_path / "docker.sock", {"ds": "running"})
    with bench(tmp_path, PYTHON, **settings(engine)) as here:
        here.launch(UP, docker_container="ds")
        failed = here.told.failed()
        assert failed.status == 503
        assert "does not answer" in failed.reason
        with engine:
            here.launch(UP, docker_container="ds", run=2)
            assert here.told.launched().run == 2
            here.signal("KILL", run=2)
            assert here.told.exited().code == 128 + signal.SIGKILL


def test_a_container_without_a_shell_is_told(here: Bench, engine: FakeEngine):
    engine.without_shell = True
    here.launch(UP, docker_container="ds")
    failed = here.told.failed()
    assert failed.status == 503
    assert 'exec: "sh": executable file not found' in failed.reason


def test_a_missing_program_is_told_by_its_end(tmp_path: Path, engine: FakeEngine):
    with bench(tmp_path, PYTHON, **{**settings(engine), "container_programs": {"*": ["/no/app"]}}) as here:
        here.launch(UP, docker_container="ds")
        here.told.launched()
        exited = here.told.exited()
        assert exited.code == 127
        assert "/no/app" in exited.log_tail[-1]


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_signal_reaches_the_group_inside(here: Bench, engine: FakeEngine, name: str):
    here.launch(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(f'child {child.pid}')\nwhile True: time.sleep(1)\n",
        docker_container="ds",
    )
    here.told.launched()
    child = int(eventually(lambda: [line for line in here.lines() if line.startswith("child")])[0].split()[1])
    here.signal(name)
    assert here.told.exited().code == 128 + getattr(signal, f"SIG{name}")
    assert eventually(lambda: gone(child))
    kills = [run.arguments for run in engine.execs.values() if run.arguments[2].startswith("kill")]
    assert kills[0][:5] == ["sh", "-c", 'kill -s "$1" -- "-$2"', "sh", name]


def test_a_stopped_app_in_a_container_sees_a_request_to_end(here: Bench):
    here.launch(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('up')\nwhile True: time.sleep(1)\n",
        docker_container="ds",
    )
    pid = here.told.launched().host_pid or 0
    eventually(lambda: "up" in here.lines())
    os.kill(pid, signal.SIGSTOP)
    here.signal("TERM")
    assert here.told.exited().code == 7


def test_arguments_reach_the_app_unread_by_the_shell(tmp_path: Path, engine: FakeEngine):
    odd = ("$(touch /tmp/never)", "; exit 9", "`id`", "a b", "*", '"', "'", "-x", "")
    with bench(tmp_path, PYTHON, **settings(engine), additional_args=["(?s).*"]) as here:
        here.launch("import sys\nprint(sys.argv[1:])", docker_container="ds", additional_args=odd)
        here.told.launched()
        assert here.told.exited().code == 0
        assert here.lines()[-1] == repr(list(odd))


def test_a_flood_in_a_container_is_capped(tmp_path: Path, engine: FakeEngine):
    with bench(tmp_path, PYTHON, **settings(engine), app_log_mb=1) as here:
        here.launch(
            "import os\nblock = (b'x' * 99 + b'\\n') * 10000\n"
            "for _ in range(30):\n    rest = block\n    while rest: rest = rest[os.write(1, rest):]\n"
            "print('the end')",
            docker_container="ds",
        )
        here.told.launched()
        assert here.told.exited().log_tail[-1] == "the end"
        assert sum(path.stat().st_size for path in (here.folder / "logs").glob("one.log*")) < 6 * 1024 * 1024


def test_an_engine_that_is_away_for_a_while_loses_no_app(here: Bench, engine: FakeEngine):
    here.launch(UP, docker_container="ds")
    here.told.launched()
    eventually(lambda: "up" in here.lines())
    engine.__exit__()
    here.signal("KILL")  # in vain
    with engine:
        eventually(lambda: any("/exec/" in each for each in engine.requests[-3:]))
        assert here.told.silent
        here.signal("KILL")
        assert here.told.exited().code == 128 + signal.SIGKILL


def test_an_exec_that_the_engine_does_not_know_any_more_has_ended(here: Bench, engine: FakeEngine):
    here.launch(UP, docker_container="ds")
    here.told.launched()
    (run,) = engine.apps
    engine.execs.clear()  # as after a restart of the engine
    assert here.told.exited().code is None
    assert run.process is not None
    run.process.kill()
    run.process.wait()


def test_the_end_of_the_server_ends_apps_in_containers(tmp_path: Path, engine: FakeEngine):
    with bench(tmp_path, PYTHON, **settings(engine)) as here:
        here.launch(UP, docker_container="ds")
        here.told.launched()
    (run,) = engine.apps
    assert run.process is not None
    assert run.process.poll() is not None


@pytest.mark.parametrize("known", [True, False])
def test_an_exec_is_found_again_after_a_restart_of_the_server(
    tmp_path: Path, engine: FakeEngine, known: bool
):
    first = Bench(tmp_path, PYTHON, **settings(engine))
    for name in ("one", "two"):
        first.launch(UP, name, docker_container="ds")
        first.told.launched()
    first.launcher._context.folder.close()  # it is left as if it had been killed
    with bench(tmp_path, PYTHON, **settings(engine)) as here:
        one, two = [run.process for run in engine.apps]
        assert one is not None
        assert two is not None
        process = Process("proc_one", 0.0, container_pid=one.pid if known else None)
        spec = Spec(str(here.configs / "one.py"), docker_container="ds")
        here.launcher.adopt([App("one", spec, AppState.RUNNING, process=process, run=1)])
        assert two.wait(30) == -signal.SIGKILL  # nobody waits for that one
        if not known:
            assert here.told.launched().container_pid == one.pid
        here.signal("TERM")
        assert here.told.exited().code == 128 + signal.SIGTERM


def test_an_app_whose_exec_was_never_noted_has_ended(here: Bench):
    spec = Spec("/configs/cars.txt", docker_container="ds")
    process = Process("proc_one", 0.0)
    here.launcher.adopt([App("one", spec, AppState.RUNNING, process=process, run=3)])
    exited = here.told.exited()
    assert (exited.run, exited.code) == (3, None)


def test_containers_must_be_allowed_by_a_setting(tmp_path: Path):
    with bench(tmp_path, PYTHON) as here:
        here.launcher.launch(LaunchApp("one", 1, Spec("/configs/cars.txt", docker_container="ds")))
        failed = here.told.failed()
        assert failed.status == 403
        assert "control.docker" in failed.reason
