"""The analysis app as a control server meets it: real processes, real clips, a server that is scripted."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.app_site import short_clips
from tests.acceptance.apps import quick_archive, quick_environment
from tests.analysis.scripted_server import (
    CLIPS,
    DEMO,
    INSTANCE,
    ScriptedServer,
    app,
    config_in,
    environment,
    lines_of,
)
from tests.cameras import ROOT, film
from tests.nets import Nets, nets  # noqa: F401 # fixture
from tests.servers import postgresql_server, redis_server, servers, until  # noqa: F401 # fixtures

pytestmark = pytest.mark.timeout(400)

CLIP = CLIPS / "dusk-visit.mp4"


@dataclass(frozen=True)
class Quick:
    """An archive that is loaded in a second, and where it is known already."""

    archive: Path
    data: Path

    @contextmanager
    def app(self, server: ScriptedServer, config: Path) -> Iterator["subprocess.Popen[str]"]:
        with app(server, config, self.data, env=quick_environment(self.data)) as process:
            yield process

    def run(self, clip: Path, out: Path) -> list[dict[str, Any]]:
        """The lines of `siwat run` on that file alone."""
        command = [sys.executable, "-m", "siwatsystem", "run", str(self.archive), "--source", str(clip)]
        command += ["--no-video", "--output", str(out), "--actions", "none"]
        env = quick_environment(self.data)
        subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, timeout=100)
        return lines_of(out / f"{clip.stem}.jsonl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What models were found to be is kept there."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def quick(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> Quick:  # noqa: F811
    """What takes seconds."""
    folder = tmp_path_factory.mktemp("quick")
    return Quick(quick_archive(nets, folder / "archive"), folder / "data")


def run_over(folder: Path, clip: Path, data: Path, every: int) -> list[dict[str, Any]]:
    """The lines of `siwat run` on that file alone."""
    command = [sys.executable, "-m", "siwatsystem", "run", str(DEMO), "--source", str(clip), "--no-video"]
    command += ["--every", str(every), "--output", str(folder), "--actions", "none"]
    subprocess.run(command, cwd=ROOT, env=environment(data), check=True, capture_output=True, timeout=100)
    return lines_of(folder / f"{clip.stem}.jsonl")


@pytest.mark.long
def test_files_in_two_slots_give_what_a_run_gives(server, tmp_path, data):
    config = config_in(tmp_path, every=15, tracking="file")
    out = tmp_path / "out"
    (tmp_path / "no.mp4").write_text("no video")
    with app(server, config, data, streams=2) as process:
        ready = server.wait("app_ready")
        assert (ready["instance_id"], ready["config_path"]) == (INSTANCE, str(config))
        assert (ready["streams_count"], ready["reconnection"]) == (2, False)
        server.begin(3, 0)
        server.begin(4, 1, run="run:r2#1")
        server.wait("analysis_started", status="ok", stream_id=1)
        bad = {2: (tmp_path / "no.mp4", out / "b"), 3: (tmp_path / "gone.mp4", out / "c")}
        server.push({1: (CLIP, out / "a"), **bad, 4: (CLIPS / "rainy-night.mp4", out / "d")})
        server.push({1: (CLIP, out / "e")}, 4, 1, request="run:r2#1/0.1")
        server.push({1: (CLIP, out / "e")}, 4, 1, request="run:r2#1/0.1")
        started = server.wait("processing_started", file_id=1, stream_id=0)
        assert started["total_frames"] == 330
        assert server.wait("analysis_complete", stream_id=0)["processed_count"] == 4
        assert server.wait("analysis_complete", stream_id=1)["processed_count"] == 1
        done = {(one["stream_id"], one["file_id"]): one for one in server.all("file_done")}
        assert len(done) == len(server.all("file_done")) == 5
        assert "no video" in done[0, 2]["error"]
        assert "No such file" in done[0, 3]["error"]
        assert done[0, 4]["processed_file"] == str(out / "d.jsonl")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert server.wait("app_terminated")["status"] == "ok"
    lines = run_over(tmp_path / "run", CLIP, data, 15)
    assert sum(len(line["events"]) for line in lines) == done[0, 1]["detections"] > 0
    assert lines_of(out / "a.jsonl") == lines_of(out / "e.jsonl") == lines
    assert sorted(path.name for path in out.iterdir()) == ["a.jsonl", "d.jsonl", "e.jsonl"]


@pytest.mark.long
def test_it_is_there_again_after_its_server_was_away(server, tmp_path, data):
    clip = film(tmp_path / "short.mp4", 40)
    config = config_in(tmp_path)
    with app(server, config, data) as process:
        server.wait("app_ready")
        server.begin()
        server.push({number: (clip, tmp_path / "out" / str(number)) for number in range(4)})
        server.wait("processing_started")
        server.stop(1001)
        until(lambda: (tmp_path / "out" / "3.jsonl").exists(), 60)
        server.said.clear()
        server.start()
        again = server.wait("app_ready", 30)
        assert (again["reconnection"], again["last_close_code"]) == (True, 1001)
        server.send("query_analysis_status", request_id="q")
        server.wait("analysis_status", request_id="q")
        kinds = [message["type"] for message in server.said]
        # What it kept back comes first, and all of it.
        assert kinds.index("analysis_complete") < kinds.index("analysis_status")
        told = [message["file_id"] for message in server.all("file_done")]
        assert told == sorted(set(told))
        assert told[-1] == 3
        server.send("terminate_app", request_id="stop:1")
        assert server.wait("app_terminated")["request_id"] == "stop:1"
        assert process.wait(20) == 0


@pytest.mark.long
def test_an_interrupt_ends_the_camera_and_a_kill_is_survived_by_the_lines(server, tmp_path, data):
    config = config_in(tmp_path, tracking="file")
    lines, out = tmp_path / "out" / "a.jsonl", tmp_path / "out"
    with app(server, config, data) as process:
        server.wait("app_ready")
        server.begin()
        server.push({1: (CLIP, out / "a")})
        server.wait("processing_started")
        server.send("interrupt_analysis", request_id="i1", stream_id=0, camera_id=3, reason="enough")
        began = time.monotonic()
        assert server.wait("analysis_interrupted", request_id="i1")["status"] == "ok"
        assert time.monotonic() - began < 3 * 1.0
        assert list(out.iterdir()) == []
        server.send("query_metrics", request_id="m1")
        metrics = server.wait("metrics_response", request_id="m1")
        assert metrics["ram_mb"] > 50
        assert [one["stream_id"] for one in metrics["streams"]] == [0]
        server.begin(run="run:r1#2")
        server.push({1: (CLIP, out / "a")}, request="run:r1#2/0.1")
        server.wait("processing_started", request_id="run:r1#2")
        part = out / ".a.jsonl.part"
        until(lambda: len(part.read_bytes().splitlines()) > 10, 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    had = len(part.read_bytes().splitlines())
    assert not lines.exists()
    short = tmp_path / "short.json"
    shutil.copy(config, short)
    with app(server, short, data) as process:
        server.wait("app_ready")
        server.begin(run="run:r1#3")
        server.push({1: (CLIP, out / "a")}, request="run:r1#3/0.1", start_frame=5)
        server.wait("processing_started", request_id="run:r1#3")
        server.send("query_analysis_status", request_id="q")
        told = server.wait("analysis_status", request_id="q")["streams"][0]["cameras"][0]
        assert told["files"]["processing"][0]["frame"] >= had - 1
        server.send("terminate_app")
        assert process.wait(20) == 0
    assert len(part.read_bytes().splitlines()) >= had - 1


@pytest.mark.long
def test_what_is_wrong_is_told_by_message_and_status(server, tmp_path, data):
    def status(config: Path) -> tuple[int, str]:
        with app(server, config, data) as process:
            _, err = process.communicate(timeout=100)
            return process.returncode, err

    server.status = "error"
    code, err = status(config_in(tmp_path))
    assert (code, "CONFIG_MISMATCH" in err) == (3, True)
    code, err = status(config_in(tmp_path, archive=str(tmp_path / "none.mpta")))
    assert (code, "none.mpta" in err) == (1, True)
    code, err = status(config_in(tmp_path, evry=3))
    assert (code, "evry" in err) == (2, True)
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["app.json"]


def test_a_killed_app_goes_on_where_it_was(server, quick, tmp_path):
    (clip,) = short_clips(tmp_path / "clips", 1, 60)
    config = config_in(tmp_path, archive=str(quick.archive), tracking="file")
    part = tmp_path / "out" / ".a.jsonl.part"
    with quick.app(server, config) as process:
        server.wait("app_ready")
        server.begin()
        server.push({1: (clip, tmp_path / "out" / "a")})
        until(lambda: part.exists() and len(part.read_bytes().splitlines()) > 5, 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "out" / "a.jsonl").exists()
    had = part.read_bytes().count(b"\n")
    with quick.app(server, config) as process:
        server.wait("app_ready")
        server.begin(run="run:r1#2")
        server.push({1: (clip, tmp_path / "out" / "a")}, request="run:r1#2/0.1", start_frame=5)
        done = server.wait("file_done")
        assert (done["frames"], done.get("error")) == (60, None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    found, alone = lines_of(tmp_path / "out" / "a.jsonl"), quick.run(clip, tmp_path / "run")
    assert [line["frame"] for line in found] == list(range(60))
    # Up to where it was killed they are those of a run; then whatever is followed has new ids.
    assert found[:had] == alone[:had]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl"]


@pytest.mark.parametrize("while_it_tries", [False, True])
def test_an_app_that_is_ended_while_it_loads_ends_well_and_leaves_nothing(
    server, quick, tmp_path, while_it_tries
):
    data = tmp_path / "data"
    config = config_in(tmp_path, archive=str(quick.archive))
    with app(server, config, data, env=quick_environment(data, shared=False)) as process:
        # It has begun to load what only apps need: before that the command itself ends, by the signal.
        maps = Path(f"/proc/{process.pid}/maps")
        until(lambda: "/av.libs/" in maps.read_text(), 60)
        works = psutil.Process(process.pid)
        trials = until(lambda: works.children(recursive=True), 60) if while_it_tries else []
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert time.monotonic() - began < 3 * 10
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert psutil.wait_procs(trials, 30)[1] == []
    assert list(data.rglob("*.part")) == []


def test_actions_are_done_for_files_that_are_pushed(server, nets, redis_server, postgresql_server, tmp_path):  # noqa: F811
    image = {"type": "redis_save_image", "region": "Car", "key": "image:{display_id}:{session_id}"}
    told = {"type": "redis_publish", "channel": "cars", "message": "{image_key}"}
    record = {"type": "postgresql_update_combined", "table": "car_frontal_info", "key_field": "session_id"}
    record |= {"key_value": "at-{display_id}", "fields": {"car_brand": "{display_id}"}}
    archive = quick_archive(
        nets,
        tmp_path / "archive",
        node={"actions": [image, told], "parallelActions": [record]},
        redis=redis_server.config,
        postgresql=postgresql_server.config,
    )
    (clip,) = short_clips(tmp_path / "clips", 1, 10)
    config = config_in(tmp_path, archive=str(archive), actions="do", display="gate-7")
    env = quick_environment(tmp_path / "data")
    with closing(redis_server.client()) as client, app(server, config, tmp_path, env=env) as process:
        heard = client.pubsub()
        heard.subscribe("cars")
        server.wait("app_ready")
        server.begin()
        server.push({1: (clip, tmp_path / "a")})
        done = server.wait("file_done")
        assert (done.get("error"), done["detections"] > 0) == (None, True)
        keys = until(lambda: client.keys("image:gate-7:*"), 30)
        published = until(lambda: _said(heard), 30)
        assert published in keys
        assert bytes(client.get(keys[0])).startswith(b"\xff\xd8")
        made = "SELECT count(*) FROM pg_tables WHERE tablename = 'car_frontal_info'"
        until(lambda: postgresql_server.query(made)[0][0], 30)
        count = "SELECT count(*) FROM gas_station_1.car_frontal_info WHERE car_brand = 'gate-7'"
        until(lambda: postgresql_server.query(count)[0][0] > 0, 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    kinds = [kind for line in lines_of(tmp_path / "a.jsonl") for kind in line.get("actions", ())]
    assert {"redis_save_image", "redis_publish"} <= set(kinds)


def _said(heard: Any) -> bytes | None:
    message = heard.get_message(timeout=1)
    return message["data"] if message is not None and message["type"] == "message" else None
