"""The demo's cameras: clips that never end, and what they say when they are told to stop."""

import signal
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import requests

from demo.cameras import system_packages
from demo.cameras.player import Player
from demo.processes import Process
from tests.cameras import CLIP, ROOT, SYSTEM_PYTHON, film, rtsp, snapshots

pytestmark = pytest.mark.xdist_group("streams")


def test_an_rtsp_clip_goes_on_for_ever_with_rising_times(tmp_path: Path) -> None:
    seconds, rate = 1, 20
    clip = film(tmp_path / "short.mp4", seconds * rate, rate)
    times: list[float] = []
    brightness: list[float] = []
    with (
        rtsp(tmp_path, clip=clip) as server,
        av.open(server.url(), options={"rtsp_transport": "tcp"}, timeout=(20, 20)) as container,
    ):
        for frame in container.decode(video=0):
            if frame.time is None:  # FFmpeg has not seen the stream's clock yet
                continue
            times.append(frame.time)
            brightness.append(float(frame.to_ndarray(format="gray").mean()))
            if len(times) == 4 * seconds * rate:
                break
    steps = np.diff(times)
    assert (steps > 0).all()
    assert np.abs(steps - 1 / rate).max() < 0.005
    assert (np.diff(brightness) < -60).sum() >= 3


def test_clients_may_come_late_and_leave(tmp_path: Path) -> None:
    with rtsp(tmp_path) as server:
        for _ in range(3):
            with av.open(server.url(), options={"rtsp_transport": "tcp"}, timeout=(20, 20)) as container:
                frame = next(container.decode(video=0))
                assert (frame.width, frame.height) == (1280, 720)


@pytest.mark.parametrize("kind", ["rtsp", "snapshots"])
def test_a_camera_ends_at_once_when_told_to(tmp_path: Path, kind: str) -> None:
    script = str(ROOT / "demo" / "cameras" / "rtsp_server.py")
    command = {
        "rtsp": [SYSTEM_PYTHON, script, f"--mount=/cam={CLIP}"],
        "snapshots": [sys.executable, "-m", "demo.cameras.snapshot_server", str(CLIP)],
    }[kind]
    process = Process(command, tmp_path / "log")
    try:
        line = process.first_line(60)
        assert line.startswith("listening ")
        assert "://127.0.0.1:" in line
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(5) == 0
    finally:
        process.stop()


def test_a_snapshot_is_the_clips_picture_of_now(tmp_path: Path) -> None:
    with snapshots(tmp_path) as address:
        first = requests.get(f"{address}/snapshot", timeout=20).content
        time.sleep(1)
        second = requests.get(f"{address}/snapshot.jpg", timeout=20).content
        status = requests.get(f"{address}/status", timeout=20).json()
        assert requests.get(f"{address}/else", timeout=20).status_code == 404
    picture = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (720, 1280, 3)
    assert first != second
    assert status["clip"] == CLIP.name
    assert status["pictures"] == 2
    assert 1 <= status["position_sec"] <= status["length_sec"]


def test_the_player_shows_the_picture_of_its_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("demo.cameras.player.time.monotonic", lambda: now[0])
    player = Player(film(tmp_path / "film.mp4", 100, rate=20))
    for position in (0.0, 0.5, 2.0, 4.9, 5.0 + 1.0, 10.0 + 4.0, 15.0 + 0.2):
        now[0] = 100.0 + position
        image = cv2.imdecode(np.frombuffer(player.jpeg(), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        expected = 20 + (position % 5.0) * 20 * 2
        assert abs(float(image.mean()) - expected) < 6, position


def test_what_is_missing_is_named_and_not_fatal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(system_packages, "SYSTEM_PYTHON", "/nowhere/python3")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["system_packages", "--install"])
    system_packages.main()
    said = capsys.readouterr().out
    assert "gir1.2-gst-rtsp-server-1.0" in said
    assert "HTTP" in said
