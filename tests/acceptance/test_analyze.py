"""The analysis app as a control server meets it: real processes, real clips, a server that is scripted."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
from tests.servers import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

CLIP = CLIPS / "dusk-visit.mp4"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What models were found to be is kept there."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    yield made
    made.stop()


def run_over(folder: Path, clip: Path, data: Path, every: int) -> list[dict[str, Any]]:
    """The lines of `siwat run` on that file alone."""
    command = [sys.executable, "-m", "siwatsystem", "run", str(DEMO), "--source", str(clip), "--no-video"]
    command += ["--every", str(every), "--output", str(folder), "--actions", "none"]
    subprocess.run(command, cwd=ROOT, env=environment(data), check=True, capture_output=True, timeout=100)
    return lines_of(folder / f"{clip.stem}.jsonl")


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
