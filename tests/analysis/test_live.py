"""Live cameras in a slot: a real RTSP server, which dies and comes again."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.app_config import AppConfig
from siwatsystem.analysis.desk import Desk
from siwatsystem.analysis.live_run import Troubles
from siwatsystem.analysis.slot import Slot, Work, live_refusal
from siwatsystem.config import Settings, StreamSettings
from siwatsystem.deepstream.to_app import EndMark, InterruptAnalysis, PushedFile, PushFile, StartAnalysis
from siwatsystem.detections import Detection
from siwatsystem.testing import FakeModel, fake_pipeline
from tests.cameras import camera_settings, rtsp_of_module, rtsp_server  # noqa: F401 # fixtures
from tests.servers import until

pytestmark = pytest.mark.xdist_group("streams")

CAR = (Detection("Car", 0.9, (5, 5, 40, 30)),)


class Live:
    """One slot, and a camera in it."""

    def __init__(self, settings: Settings, **config: Any) -> None:
        self.told: list[Any] = []
        chosen = AppConfig(archive=Path("a.mpta"), **config)
        self.desk = Desk(1, self.told.append, lambda asked: live_refusal(asked, chosen, settings))
        pipeline = fake_pipeline(FakeModel(CAR, ["Car"]))
        self.slot = Slot(0, self.desk, Work(pipeline, "pipeline-1", Actions(), chosen, settings))
        self.slot.start()

    def start(self, url: str, out: str, camera: int = 4) -> Any:
        kind: Any = "videostream"
        return self.desk.start(
            StartAnalysis(
                request_id="run:a#1",
                stream_id=0,
                camera_id=camera,
                camera_type=kind,
                path=url,
                output_dir=out,
            )
        )

    @property
    def camera(self) -> Any:
        (told,) = self.desk.progress()
        return told.camera

    def interrupt(self) -> None:
        self.desk.interrupt(InterruptAnalysis(request_id="i1", stream_id=0, camera_id=4))

    def close(self) -> None:
        self.desk.stop()
        assert self.slot.join(10)


def test_a_camera_that_gives_frames_hides_no_other_trouble():
    told: list[str | None] = []
    troubles = Troubles(told.append)
    lines, camera = troubles.of("lines"), troubles.of("camera")
    lines("no space")
    camera(None)
    camera("away")
    lines(None)
    camera(None)
    assert told == ["no space", "no space", "no space", "away", None]


def lines_in(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(text) for path in sorted(out.glob("*.jsonl")) for text in path.read_text().splitlines()
    ]


def test_a_camera_that_dies_is_connected_again_and_its_lines_go_on(rtsp_server, tmp_path):  # noqa: F811
    live = Live(camera_settings(), fps=5.0, live_minutes=0.02)
    out = tmp_path / "out"
    assert live.start(rtsp_server.url(), str(out)).status == "ok"
    until(lambda: live.camera.status == "running", 60)
    assert live.camera.reason is None
    until(lambda: len(list(out.glob("*.jsonl"))) > 1, 60)
    rtsp_server.kill()
    reason = until(lambda: live.camera.reason, 60)
    assert "rtsp" not in reason
    assert live.camera.status == "running"
    before = len(lines_in(out))
    rtsp_server.start()
    until(lambda: live.camera.reason is None, 60)
    until(lambda: len(lines_in(out)) > before + 5, 60)
    live.interrupt()
    (told,) = until(lambda: live.told, 20)
    assert (told.type, told.request_id, told.status) == ("analysis_interrupted", "i1", "ok")
    live.close()
    found = lines_in(out)
    assert all(line["events"] for line in found)
    numbers = [line["frame"] for line in found]
    assert numbers == sorted(set(numbers))
    assert [path for path in out.iterdir() if path.name.startswith(".")] == []


def test_the_end_mark_ends_it_and_files_it_has_none(rtsp_server, tmp_path):  # noqa: F811
    live = Live(camera_settings())
    live.start(rtsp_server.url(), str(tmp_path / "out"))
    head = {"stream_id": 0, "camera_id": 4}
    file = PushedFile(file_id=1, file_path="/videos/a.mp4")
    ack, _ = live.desk.push(PushFile.model_validate({**head, "files_count": 1, "files": [file]}))
    assert "no files" in str(ack.error_reason)
    until(lambda: live.camera.status == "running", 60)
    live.desk.push(PushFile.model_validate({**head, "files_count": 0, "files": [EndMark()]}))
    (told,) = until(lambda: live.told, 20)
    assert (told.type, told.status) == ("analysis_complete", "done")
    live.close()
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_one_that_hangs_can_be_ended_and_its_lines_are_whole(rtsp_server, tmp_path):  # noqa: F811
    live = Live(camera_settings(stale_after_sec=30.0, streams={"read_timeout_sec": 30.0}))
    live.start(rtsp_server.url(), str(tmp_path / "out"))
    until(lambda: live.camera.status == "running", 60)
    rtsp_server.pause()
    try:
        live.interrupt()
        until(lambda: list((tmp_path / "out").glob("*.jsonl")), 3 * 1.0)
        until(lambda: live.told, 3 * 5.0)
        live.close()
    finally:
        rtsp_server.resume()
    assert lines_in(tmp_path / "out")


def test_one_that_is_not_there_waits_says_why_and_can_be_ended(tmp_path):
    live = Live(camera_settings())
    live.start("rtsp://127.0.0.1:9/cam", str(tmp_path / "out"))
    assert until(lambda: live.camera.reason, 60)
    assert live.camera.status == "queued"
    began = time.monotonic()
    live.desk.stop()
    assert live.slot.join(10)
    assert time.monotonic() - began < 3 * 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("url", "out", "told"),
    [
        ("/videos", "/out", "scheme"),
        ("gopher://camera", "/out", "gopher"),
        ("http://169.254.169.254/latest", "/out", "169.254.169.254"),
        ("rtsp://camera/1", "", "output_dir"),
        ("rtsp://camera/1", "/etc", "by the app's config"),
    ],
)
def test_what_no_camera_can_be_is_refused_at_once(tmp_path, url, out, told):
    live = Live(Settings(streams=StreamSettings()), output_folders=(tmp_path,))
    answer = live.start(url, str(tmp_path) if out == "/out" else out)
    assert answer.status == "error"
    assert told in answer.error_reason
    live.close()
