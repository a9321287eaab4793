"""The command as people run it: real processes on the demo archive and real cameras."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from demo.pack import trained
from siwatsystem import archive
from siwatsystem.config import ModelSettings
from siwatsystem.streams.clip import Clip
from tests.cameras import CLIP, ROOT, RtspServer, rtsp_of_module, rtsp_server  # noqa: F401
from tests.exports import share_exports
from tests.servers import redis_server, servers, until  # noqa: F401

DEMO = ROOT / "demo" / "demo.mpta"
WEIGHTS = trained() / "car_frontal_detection.pt"


class Desk:
    """A place where `siwat run` is run; its exports are made once."""

    def __init__(self, folder: Path) -> None:
        self._environment = os.environ | {
            "SIWAT_DATA_DIR": str(folder),
            # Without an export: that takes longer than all of these tests.
            "SIWAT_RUNTIME__BACKEND": "torch",
            "SIWAT_RUNTIME__DEVICE": "cpu",
        }

    def begin(self, *arguments: str | Path, file_limit: int | None = None) -> subprocess.Popen[str]:
        def limit() -> None:
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        return subprocess.Popen(
            [sys.executable, "-m", "siwatsystem", "run", *map(str, arguments)],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )

    def run(self, *arguments: str | Path, file_limit: int | None = None) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        process = self.begin(*arguments, file_limit=file_limit)
        out, err = process.communicate(timeout=100)
        assert "Traceback" not in err, err
        return process.returncode, out, err


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(share_exports(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def tried(desk: Desk) -> Desk:
    """One where the demo's models were tried, which writes files."""
    assert desk.run(DEMO, "--source", CLIP, "--fps", "1", "--limit", "1", "--actions", "none")[0] == 0
    return desk


@pytest.mark.slow
def test_the_demo_over_a_clip(desk: Desk, tmp_path: Path):
    status, out, err = desk.run(
        DEMO, "--source", CLIP, "--fps", "2", "--limit", "4", "--output", tmp_path, "--trace"
    )
    assert (status, err) == (0, "")
    assert "dusk-visit: 8 frames (4.0 s)" in out
    assert "car_brand_classification  ran on Frontal" in out
    assert "would publish to car_detections" in out
    summary = json.loads((tmp_path / "dusk-visit.summary.json").read_text())
    assert summary["frames"] == 8
    assert summary["objects"]["Car"]["boxes"] >= 3
    assert summary["actions"]["redis_publish"] >= 1
    assert len((tmp_path / "dusk-visit.jsonl").read_text().splitlines()) == 8
    assert Clip(tmp_path / "dusk-visit.annotated.mp4").info.seconds == pytest.approx(4.0)


@pytest.mark.slow
def test_bare_weights_with_a_class_filter_as_json(desk: Desk):
    arguments = ("--classes", "Car", "--source", CLIP, "--every", "30", "--json")
    status, out, err = desk.run(WEIGHTS, *arguments)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["frames"] == 11
    assert list(found["objects"]) == ["Car"]


@pytest.mark.slow
def test_a_damaged_clip_is_analysed_as_far_as_it_goes_and_told(desk: Desk, tmp_path: Path):
    data = bytearray(CLIP.read_bytes())
    for place in range(400_000, 900_000, 50_000):
        data[place] ^= 0x10
    (tmp_path / "bad.mp4").write_bytes(data)
    status, out, err = desk.run(DEMO, "--source", tmp_path / "bad.mp4", "--fps", "1", "--actions", "none")
    assert status == 1
    assert "siwat: bad: damaged: nothing whole from" in err
    assert "would" not in out.replace("would be done", "")
    assert "car_frontal_detection" in out


@pytest.mark.slow
def test_a_full_disk_ends_the_video_not_the_analysis(tried: Desk, tmp_path: Path):
    arguments = ("--source", CLIP, "--fps", "5", "--actions", "none", "--output", tmp_path)
    # Already unpacked: the weights would not fit either.
    folder = archive.extract(DEMO, tmp_path / "demo", ModelSettings())
    status, _, err = tried.run(folder, *arguments, file_limit=200_000)
    assert status == 1
    assert err == "siwat: dusk-visit.annotated.mp4 ends early: File too large\n"
    assert 2 < len(list(Clip(tmp_path / "dusk-visit.annotated.mp4"))) < 110
    assert len((tmp_path / "dusk-visit.jsonl").read_text().splitlines()) == 110


@pytest.mark.slow
def test_a_disk_without_any_room_is_told_and_no_film_is_left(tried: Desk, tmp_path: Path):
    folder = archive.extract(DEMO, tmp_path / "demo", ModelSettings())
    arguments = ("--source", CLIP, "--fps", "1", "--limit", "3", "--actions", "none", "--output", tmp_path)
    status, _, err = tried.run(folder, *arguments, file_limit=100)
    assert status == 1
    assert "siwat: dusk-visit.annotated.mp4 was not written: File too large\n" in err
    assert f"siwat: {tmp_path}/dusk-visit.summary.json was not written: File too large\n" in err
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["dusk-visit.jsonl"]


@pytest.mark.slow
def test_two_runs_do_not_share_an_output_folder(desk: Desk, tmp_path: Path):
    output = tmp_path / "out"
    arguments = ("--source", CLIP, "--fps", "5", "--limit", "8", "-o", output, "--actions", "none")
    first = desk.begin(DEMO, *arguments)
    until(lambda: list(output.glob(".*.jsonl.part")))
    assert desk.run(WEIGHTS, *arguments) == (2, "", f"siwat: another run writes to {output}\n")
    _, err = first.communicate(timeout=100)
    assert (first.returncode, err) == (0, "")
    lines = [json.loads(line) for line in (output / "dusk-visit.jsonl").read_text().splitlines()]
    assert [line["at"] for line in lines] == pytest.approx([number / 5 for number in range(40)])
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_a_hole_before_the_limit_is_told(desk: Desk, tmp_path: Path):
    data = bytearray(CLIP.with_name("morning-rush.mp4").read_bytes())
    data[600_000:700_000] = b"\x55" * 100_000
    (tmp_path / "holed.mp4").write_bytes(data)
    arguments = ("-s", tmp_path / "holed.mp4", "--fps", "2", "--limit", "14", "--no-video")
    status, _, err = desk.run(DEMO, *arguments, "--actions", "none", "-o", tmp_path / "out")
    told = "holed: damaged: nothing whole from 0:08.0 to 0:11.0"
    assert (status, err) == (1, f"siwat: {told}\n")
    assert json.loads((tmp_path / "out" / "holed.summary.json").read_text())["problems"] == [told]


@pytest.mark.slow
def test_a_camera_until_ctrl_c(desk: Desk, rtsp_server: RtspServer, tmp_path: Path):  # noqa: F811
    process = desk.begin(
        DEMO, "--source", rtsp_server.url(), "--fps", "4", "-o", tmp_path, "--actions", "none"
    )
    partial = next(iter(until(lambda: list(tmp_path.glob(".*.jsonl.part")))))
    until(lambda: partial.read_text().count("\n") >= 4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "ended early: stopped" in out
    (lines,) = tmp_path.glob("*.jsonl")
    frames = [json.loads(line)["at"] for line in lines.read_text().splitlines()]
    assert len(frames) >= 4
    assert frames == sorted(frames)
    (video,) = tmp_path.glob("*.mp4")
    assert len(list(Clip(video))) == len(frames)


@pytest.mark.slow
def test_a_camera_for_some_seconds(desk: Desk, rtsp_server: RtspServer):  # noqa: F811
    status, out, err = desk.run(WEIGHTS, "--source", rtsp_server.url(), "--limit", "1.5", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["frames"] >= 1
    assert json.loads(out)["seconds"] < 1.6


@pytest.mark.slow
def test_actions_are_done_when_asked(desk: Desk, tmp_path: Path, redis_server: Any):  # noqa: F811
    node = {"modelId": "cars", "modelFile": WEIGHTS.name, "minConfidence": 0.5, "triggerClasses": ["Car"]}
    action = {"type": "redis_save_image", "key": "run:{display_id}:{session_id}"}
    spec = {"pipeline": {**node, "actions": [action]}, "redis": redis_server.config}
    (tmp_path / "pipeline.json").write_text(json.dumps(spec))
    (tmp_path / WEIGHTS.name).symlink_to(WEIGHTS)
    arguments = ("--source", CLIP, "--fps", "1", "--limit", "5", "--display", "d1", "--session", "77")
    client = redis.Redis(**redis_server.config)
    assert desk.run(tmp_path, *arguments)[0] == 0
    assert client.get("run:d1:77") is None
    status, out, err = desk.run(tmp_path, *arguments, "--actions", "do")
    assert (status, err) == (0, "")
    image = client.get("run:d1:77")
    client.close()
    assert isinstance(image, bytes)
    assert image[:2] == b"\xff\xd8"
    assert "done" in out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((DEMO, "-s", CLIP, "--fps", "2", "--every", "2"), 2, "--fps and --every exclude each other"),
        ((DEMO, "-s", CLIP, "--fps", "0"), 2, "--fps 0: must be above 0"),
        ((DEMO, "-s", "/gone.mp4"), 1, "/gone.mp4: there is no such file or folder"),
        ((DEMO, "-s", ROOT / "README.md"), 1, f"{ROOT / 'README.md'}: is no video that can be read"),
        ((DEMO, "-s", ROOT / "bench"), 1, f"{ROOT / 'bench'}: the folder holds no video and no picture"),
        (("/gone.mpta", "-s", CLIP), 2, "/gone.mpta: there is no such file or folder"),
        (
            *((DEMO, "-s", CLIP, "--classes", "Car"), 2),
            f"--classes is for bare weights; {DEMO} says itself which classes it wants",
        ),
        (
            *((WEIGHTS, "-s", CLIP, "--classes", "Lorry,Car"), 2),
            f"--classes: {WEIGHTS.name}: no model here has a class 'Lorry' "
            "(the model's classes: Car, Frontal)",
        ),
        ((ROOT / "README.md", "-s", CLIP), 1, "README.md: the archive is no zip, or was cut short"),
        ((ROOT / "docs", "-s", CLIP), 1, f"{ROOT / 'docs'}: the folder holds no pipeline.json"),
        ((DEMO, "-s", "rtsp://127.0.0.1:9/cam"), 1, "rtsp://127.0.0.1:9/cam: the connection was refused"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(desk: Desk, arguments, status: int, said: str):
    assert desk.run(*arguments) == (status, "", f"siwat: {said}\n")


def test_every_mistake_of_an_archive_is_told(desk: Desk, tmp_path: Path):
    spec = {
        "pipeline": {"modelId": "a", "modelFile": "gone.pt", "minConfidence": 2, "triggerClasses": ["Car"]}
    }
    (tmp_path / "pipeline.json").write_text(json.dumps(spec))
    status, out, err = desk.run(tmp_path, "-s", CLIP)
    assert (status, out) == (1, "")
    assert "pipeline.minConfidence" in err
    assert "pipeline.modelFile" in err
    assert len(err.splitlines()) == 2


def test_a_window_needs_a_screen(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    desk._environment.pop("DISPLAY", None)
    desk._environment.pop("WAYLAND_DISPLAY", None)
    status, _, err = desk.run(DEMO, "-s", CLIP, "--show")
    assert status == 2
    assert err == "siwat: --show: there is no screen here (DISPLAY names none that works)\n"


def test_to_end_on_a_class_that_no_model_has_is_wrong_usage(desk: Desk):
    status, _, err = desk.run(WEIGHTS, "-s", CLIP, "--stop-on", "Lorry")
    assert status == 2
    assert err == "siwat: --stop-on Lorry: no model has that class, there are Car, Frontal\n"
