"""Apps on a Ray cluster: a real one of several nodes on this machine, and apps that are real processes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream import ray_launcher
from siwatsystem.deepstream.apps import App, Process, Spec
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Exited, Launched
from siwatsystem.deepstream.ray_driver import RayDriver
from siwatsystem.deepstream.ray_launcher import RayLauncher
from siwatsystem.deepstream.ray_link import Unreachable, child_environment
from siwatsystem.deepstream.ray_room import Node, room
from siwatsystem.deepstream.states import AppState
from siwatsystem.errors import InvalidSetting
from tests.acceptance.control import alive
from tests.deepstream.launching import SERVER, Told, eventually, gone
from tests.deepstream.ray_nodes import TOKEN, Nodes, RayServer, cluster

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(180)]

SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


# --- without a cluster ------------------------------------------------------------------------


def spec(*gpus: int, streams: int | None = 1, path: str = "/configs/a.py", **more: Any) -> Spec:
    return Spec(path, streams_count=streams, gpu_allocated=gpus, **more)


NODES = (Node("head", 0, 0, 0, 0), Node("a", 4, 8, 1, 8), Node("b", 2, 8, 2, 0.5))


@pytest.mark.parametrize(
    ("wanted", "status", "reason"),
    [
        (spec(), None, ""),
        (spec(7), None, ""),
        (spec(0, 1), 503, "2 GPUs and 1 CPU cores free"),
        (spec(0, 1, 2, 3), 503, "at most 2 GPUs"),
        (spec(0, 1, 2, 3, 4), 422, "no node has 5 GPUs (the largest has 4)"),
        (spec(0, streams=33), 422, "33 slots are more than 1 GPUs take (32 each)"),
    ],
)
def test_room_is_looked_for_on_one_node(wanted: Spec, status: int | None, reason: str):
    refused = room(wanted, NODES, 1.0, 32)
    assert (refused.status if refused else None) == status
    assert reason in (refused.reason if refused else "")


def test_a_cluster_without_a_node_for_apps_takes_none():
    refused = room(spec(), NODES[:1], 1.0, 32)
    assert refused is not None
    assert (refused.status, "control.ray_cpus" in refused.reason) == (422, True)


def settings(folder: Path, **more: Any) -> ControlSettings:
    token = folder / "token"
    token.write_text(TOKEN)
    values: dict[str, Any] = {
        "launcher": "ray",
        "ray_address": "127.0.0.1:1",
        "ray_token_file": token,
        "server_url": SERVER,
        "app_logs": folder / "logs",
        "config_folders": [folder],
        "programs": {"*": [sys.executable, "-u", "{config}"]},
    }
    return ControlSettings(**{**values, **more})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"ray_address": None}, "needs control.ray_address"),
        ({"server_url": None}, "needs control.server_url"),
        ({"ray_token_file": None}, "needs control.ray_token_file"),
        ({"ray_token_file": "/nowhere/token"}, "No such file"),
        ({"ray_token_file": "/dev/null"}, "holds no token"),
    ],
)
def test_what_it_needs_and_has_not_is_a_bad_setting(tmp_path: Path, bad: dict[str, Any], reason: str):
    with pytest.raises(InvalidSetting, match=reason):
        RayLauncher(settings(tmp_path, **bad), SERVER, print)


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_launcher.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidSetting, match=r"Ray is not installed \(pip install '\.\[ray\]'\)"):
        RayLauncher(settings(tmp_path), SERVER, print)


def test_the_control_server_does_not_start_without_a_token(tmp_path: Path):
    environ = {"SIWAT_DATA_DIR": str(tmp_path), "SIWAT_CONTROL__LAUNCHER": "ray"}
    environ |= {"SIWAT_CONTROL__RAY_ADDRESS": "127.0.0.1:1", "SIWAT_CONTROL__SERVER_URL": SERVER}
    environ |= {"SIWAT_CONTROL__PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "siwatsystem", "control"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.endswith("control.launcher = 'ray' needs control.ray_token_file: the cluster's token")


def test_ray_is_told_its_token_and_to_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_TLS_CA_CERT", "/etc/ca")
    monkeypatch.setenv("SIWAT_CONTROL_TOKEN", "secret")
    told = child_environment(tmp_path / "token")
    assert {name: value for name, value in told.items() if name.startswith("RAY_")} == {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TLS_CA_CERT": "/etc/ca",
    }
    assert "secret" not in told.values()


def test_ray_is_loaded_only_when_chosen():
    code = (
        "import sys, siwatsystem.deepstream.application, siwatsystem.deepstream.ray_driver\n"
        "import siwatsystem.deepstream.ray_actor, siwatsystem.deepstream.ray_keeper\n"
        "raise SystemExit('ray' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


class Line:
    """A line to a cluster of one large node, whose launches wait until `room` is set."""

    nodes = (Node("a", 8, 8, 8, 8),)

    def __init__(self, *, room: bool = True) -> None:
        self.problem: str | None = None
        self.up = threading.Event()
        self.up.set()
        self.room = threading.Event()
        if room:
            self.room.set()
        self.said: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.names: list[str] = []
        self.asking: Callable[[], object] = lambda: None

    def ask(self, operation: str, within_sec: float, **order: Any) -> dict[str, Any]:
        if operation == "names":
            self.asking()
            return {"names": self.names}
        self.asked.append(order["name"])
        if not self.room.wait(20):
            raise Unreachable("no answer")
        return {"error": None, "host": "a", "pid": 4711, "node": "n"}

    def say(self, operation: str, **order: Any) -> None:
        self.said.append((operation, order["name"]))
        if operation == "end":
            self.room.set()

    def close(self) -> None:
        pass


class Stub:
    """A launcher on such a line, whose driver is not there."""

    def __init__(self, folder: Path, line: Line, tell: Any) -> None:
        (folder / "a.py").write_text("")
        self.launcher = RayLauncher(settings(folder), SERVER, tell, settle_sec=0.0)
        self.line: Any = line
        self.launcher._link = self.line
        self.path = str(folder / "a.py")

    def launch(self, name: str, run: int = 1) -> None:
        self.launcher.launch(LaunchApp(name, run, Spec(self.path)))


def test_what_is_told_as_launched_can_be_signalled_at_once(tmp_path: Path):
    said: list[Any] = []

    def tell(news: Any) -> None:
        if isinstance(news, Launched):
            stub.launcher.signal(Signal("one", 1, "KILL"))
        said.append(news)

    stub = Stub(tmp_path, Line(), tell)
    stub.launch("one")
    eventually(lambda: ("watch", "one#1") in stub.line.said)
    assert ("signal", "one#1") in stub.line.said
    stub.launcher._running.clear()
    stub.launcher.close()


def test_launches_that_wait_for_a_node_hold_up_no_other(tmp_path: Path):
    stub = Stub(tmp_path, Line(room=False), Told())
    try:
        for number in range(20):
            stub.launch(f"app-{number}")
        eventually(lambda: len(stub.line.asked) == 20)
        stub.launcher.signal(Signal("nobody", 1, "TERM"))
        assert stub.launcher._context._tell.exited().instance_id == "nobody"  # type: ignore[attr-defined]
    finally:
        stub.line.room.set()
        eventually(lambda: not stub.launcher._context.launching)
        stub.launcher._running.clear()
        stub.launcher.close()


def test_a_launch_under_way_is_cut_short_when_the_server_ends(tmp_path: Path):
    stub = Stub(tmp_path, Line(room=False), Told())
    stub.launch("one")
    eventually(lambda: stub.line.asked)
    threading.Timer(0.5, stub.launcher._running.clear).start()  # as its end is heard
    stub.launcher.close()
    assert stub.line.said[0] == ("end", "one#1")
    assert not stub.launcher._context.launching


def test_what_is_launched_while_the_cluster_names_its_actors_is_not_ended(tmp_path: Path):
    stub = Stub(tmp_path, Line(), Told())

    def launch() -> None:
        stub.launch("one")
        eventually(lambda: ("watch", "one#1") in stub.line.said)

    stub.line.names, stub.line.asking = ["one#1", "old#3"], launch
    stub.launcher._sweep()
    assert [name for operation, name in stub.line.said if operation == "end"] == ["old#3"]
    stub.launcher._running.clear()
    stub.launcher.close()


def test_what_a_driver_gives_up_is_ended():
    import ray

    ended: list[Any] = []
    told: list[dict[str, Any]] = []

    def fail(*_: object, **__: object) -> None:
        raise ray.exceptions.RaySystemError("it cannot be read")

    remote = SimpleNamespace(remote=lambda *_: None)
    actor = SimpleNamespace(about=remote, news=remote)
    driver = RayDriver("any", told.append)
    driver._ray = SimpleNamespace(
        get_actor=lambda *_, **__: actor,
        get=fail,
        kill=lambda one, **_: ended.append(one),
        exceptions=ray.exceptions,
    )
    driver.watch("one#1", 0)
    assert (ended, told[0]["event"]) == ([actor], "lost")


# --- with one ---------------------------------------------------------------------------------


class Bench:
    """A launcher on a cluster; each config is a script."""

    def __init__(self, folder: Path, nodes: Nodes, namespace: str) -> None:
        self.folder = folder
        self.told = Told()
        self.settings = settings(
            folder,
            ray_address=nodes.address,
            ray_token_file=nodes.token_file,
            ray_namespace=namespace,
        )
        self.launcher = RayLauncher(
            self.settings, SERVER, self.told, token_of=lambda name: f"token-of-{name}", settle_sec=0.0
        )

    def config(self, script: str, name: str) -> str:
        path = self.folder / f"{name}.py"
        path.write_text(script)
        return str(path)

    def launch(self, script: str, name: str = "one", run: int = 1, **more: Any) -> None:
        self.launcher.launch(LaunchApp(name, run, Spec(self.config(script, name), **more)))

    def signal(self, name: Any, instance_id: str = "one", run: int = 1) -> None:
        self.launcher.signal(Signal(instance_id, run, name))

    def lines(self, name: str = "one") -> tuple[str, ...]:
        return self.launcher.logs(f"proc_{name}", 1000).lines


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with cluster({"num_cpus": 2, "num_gpus": 2}, {"num_cpus": 2}) as made:
        yield made


@pytest.fixture
def here(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("HOME", str(nodes.home))
    made = Bench(tmp_path, nodes, tmp_path.name)
    made.launcher.adopt([])
    try:
        eventually(lambda: made.launcher.problem is None)
        yield made
    finally:
        made.launcher.close()
    assert list(nodes.home.iterdir()) == []


def test_an_app_is_told_who_it_is_and_which_gpus_it_has(here: Bench, nodes: Nodes):
    here.launch(
        "import os, sys\nfor name in sorted(os.environ): print(name, '=', os.environ[name])\n"
        "print('leads', os.getsid(0) == os.getpid())\nprint('worse', file=sys.stderr)\nsys.exit(3)",
        gpu_allocated=(5, 9),  # on a cluster only their number counts
    )
    launched = here.told.launched()
    assert launched.command.endswith(f": {sys.executable} -u {here.folder}/one.py")
    exited = here.told.exited()
    assert (exited.code, exited.log_tail[-1]) == (3, "worse")
    said = here.lines()
    assert {"APP_ID = one", "APP_TOKEN = token-of-one", f"APP_SERVER = {SERVER}", "leads True"} <= {*said}
    assert "CUDA_VISIBLE_DEVICES = 0,1" in said
    assert TOKEN not in "".join(said)
    assert not [line for line in said if line.startswith("RAY_")]
    here.launch("import os\nprint('sees', os.environ['CUDA_VISIBLE_DEVICES'], '.')", run=2)
    here.told.launched()
    assert here.told.exited().log_tail[-1] == "sees  ."


def test_apps_are_spread_signalled_and_their_tokens_in_no_command_line(here: Bench):
    script = (
        "import os, subprocess, sys, time\n"
        "line = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print('child', subprocess.Popen(line, start_new_session=True).pid, flush=True)\ntime.sleep(600)\n"
    )
    pids, children = [], []
    for name in ("one", "two"):
        here.launch(script, name)
        pids.append(here.told.launched().host_pid or 0)
        line = eventually(lambda name=name: [line for line in here.lines(name) if line.startswith("child")])
        children.append(int(line[0].split()[1]))
    assert len({here.lines(name)[0].split(" on node ")[1].split()[0] for name in ("one", "two")}) == 2
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"token-of" not in path.read_bytes(), path
            assert TOKEN.encode() not in path.read_bytes(), path
        except OSError:
            continue
    here.signal("TERM", "one")
    here.signal("KILL", "two")
    ends = {exited.instance_id: exited.code for exited in (here.told.exited(), here.told.exited())}
    assert ends == {"one": -15, "two": -9}
    assert all(eventually(lambda pid=pid: gone(pid)) for pid in (*pids, *children))


def test_what_cannot_be_placed_is_refused(here: Bench):
    path = here.config(SLEEP, "one")
    refused = here.launcher.refused(spec(0, 1, 2, path=path))
    assert refused is not None
    assert (refused.status, refused.reason) == (422, "no node has 3 GPUs (the largest has 2)")
    here.launch(SLEEP, "two", gpu_allocated=(0,))
    here.told.launched()
    full = eventually(lambda: here.launcher.refused(spec(0, 1, path=path)))
    assert full.status == 503
    # The cluster is looked at every two seconds: what a test before this had may still be in it.
    assert eventually(lambda: here.launcher.refused(spec(0, path=path)) is None)
    inside = here.launcher.refused(spec(path=path, docker_container="box"))
    assert inside is not None
    assert (inside.status, "launches no containers" in inside.reason) == (422, True)
    relative = here.launcher.refused(spec(path="one.py"))
    assert relative is not None
    assert "must be absolute" in relative.reason
    here.launch(SLEEP, "three", gpu_allocated=(0, 1, 2))
    assert here.told.failed().status == 422
    (here.folder / "four.py").write_text("")
    here.launcher._context.allowed._settings = here.settings.model_copy(
        update={"programs": {"*": ("/nowhere/at/all",)}}
    )
    here.launcher.launch(LaunchApp("four", 1, Spec(str(here.folder / "four.py"))))
    assert "No such file" in here.told.failed().reason


def test_a_flood_is_kept_to_its_end(here: Bench):
    """More than an actor keeps, faster than it is fetched."""
    here.launch("import os\nfor _ in range(200): os.write(1, (b'x' * 99 + b'\\n') * 1000)\nprint('the end')")
    here.told.launched()
    assert here.told.exited().log_tail[-1] == "the end"


def test_a_lost_line_is_begun_again_and_apps_go_on(here: Bench):
    here.launch("import time\nfor n in range(9999):\n    print('line', n, flush=True)\n    time.sleep(0.1)")
    pid = here.told.launched().host_pid or 0
    eventually(lambda: "line 3" in here.lines())
    here.launcher._watch(here.launcher._running["one", 1])  # a second time, as around a new connection
    eventually(lambda: "line 20" in here.lines())
    child = here.launcher._link._child
    assert child is not None
    os.kill(child.pid, 9)
    eventually(lambda: here.launcher.problem is not None)
    refused = here.launcher.refused(spec(path=here.config(SLEEP, "two")))
    assert refused is not None
    assert (refused.status, "is not reached" in refused.reason) == (503, True)
    here.signal("TERM")  # it is not forgotten
    here.launch(SLEEP, "three")  # it waits for the line
    news = [here.told.next(), here.told.next()]
    assert {type(one) for one in news} == {Launched, Exited}, news
    assert next(one.code for one in news if isinstance(one, Exited)) == -15
    written = [line for line in here.lines() if line.startswith("line")]
    assert written == [f"line {n}" for n in range(len(written))]
    assert gone(pid)


def test_a_new_server_adopts_who_is_waited_for_and_ends_the_rest(here: Bench, nodes: Nodes):
    pids = {}
    for name in ("one", "two"):
        here.launch(SLEEP, name)
        pids[name] = here.told.launched().host_pid or 0
        eventually(lambda name=name: "up" in here.lines(name))
    here.launcher._running.clear()  # as if it was killed
    here.launcher.close()
    second = Bench(here.folder, nodes, here.settings.ray_namespace)
    apps = []
    for name, pid in {"one": pids["one"], "never": 4711}.items():
        process = Process(f"proc_{name}", time.time(), host_pid=pid)
        apps.append(App(name, Spec("/any"), AppState.RUNNING, process=process, run=1))
    second.launcher.adopt(apps)
    try:
        lost = second.told.exited()
        assert (lost.instance_id, lost.code) == ("never", None)
        eventually(lambda: gone(pids["two"]))
        assert not gone(pids["one"])
        second.signal("TERM")
        assert second.told.exited().code == -15
    finally:
        second.launcher.close()


def test_an_unreachable_cluster_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_launcher, "_REACH_SEC", 0.5)
    told = Told()
    launcher = RayLauncher(settings(tmp_path), SERVER, told)
    try:
        launcher._link.start()
        assert "127.0.0.1:1" in (launcher.problem or "")
        (tmp_path / "a.py").write_text(SLEEP)
        refused = launcher.refused(spec(path=str(tmp_path / "a.py")))
        assert refused is not None
        assert refused.status == 503
        launcher.launch(LaunchApp("one", 1, spec(path=str(tmp_path / "a.py"))))
        assert told.failed().status == 503
    finally:
        launcher.close()


FILES = 16


def test_files_of_an_app_whose_node_dies_are_done_on_another(nodes: Nodes, tmp_path: Path):
    chosen = {
        "SIWAT_CONTROL__LAUNCHER": "ray",
        "SIWAT_CONTROL__RAY_ADDRESS": nodes.address,
        "SIWAT_CONTROL__RAY_TOKEN_FILE": str(nodes.token_file),
        "HOME": str(nodes.home),
    }
    first = nodes.add(num_cpus=1, num_gpus=4)
    server = RayServer(tmp_path, 0.3, chosen)
    try:
        body = {"config_path": str(tmp_path / "a.txt"), "streams_count": 1, "instance_id": "one"}
        body["gpu_allocated"] = [0, 1, 2, 3]
        answer = server.place(body)
        assert answer["success"], answer
        pid = answer["host_pid"]
        server.until(lambda: server.get("/instances/one")["ws_status"] == "connected")
        # Of what is free the server knows a moment later; until then it says that this one lives already.
        server.until(lambda: server.post("/launch", body)["detail"].startswith("no node has 4"))
        nodes.add(num_cpus=1, num_gpus=4)
        server.push(FILES)
        server.until(lambda: server.counts()["done"] >= 4)
        nodes.kill(first)
        server.until(lambda: not alive(pid), 10)
        server.until(server.done, 90)
        assert server.counts()["done"] == FILES
        assert server.counts()["failed"] == 0
        assert server.analysed().keys() == {f"{number}.mp4" for number in range(FILES)}
        # One that was told as done is not analysed again; of the one that ended with the node nobody knew.
        assert sum(server.analysed().values()) <= FILES + 1
        moved = server.get("/processes/proc_one")
        assert moved["host_pid"] not in (pid, None)
        said = server.get("/processes/proc_one/logs?lines=1000")["log_content"].splitlines()
        runs = [line.split(" on node ")[1].split()[0] for line in said if " on node " in line]
        assert len(runs) == len(set(runs)) == 2
        assert [line for line in said if "its node has died" in line], said
        server.kill()
        server.start()
        server.until(lambda: server.get("/instances/one")["ws_status"] == "connected")
        assert server.get("/processes/proc_one")["host_pid"] == moved["host_pid"]
        server.post("/instances/one/terminate")
        server.until(lambda: not alive(moved["host_pid"]))
        server.until(lambda: server.get("/processes/proc_one")["status"] == "stopped")
    finally:
        server.process.stop(20)
    assert list(nodes.home.iterdir()) == []


def test_nothing_of_a_cluster_is_left(nodes: Nodes):
    """The last one here: it ends the cluster of the others."""
    nodes.close()
    mark = f"RAY_TMPDIR={nodes.folder}".encode()

    def left() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes().split(b"\0"):
                    found.append((path.parent / "cmdline").read_text())
            except OSError:
                continue
        return found

    eventually(lambda: not left())
