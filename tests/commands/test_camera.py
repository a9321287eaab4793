"""`siwat camera`: what is served is watched, over real HTTP and RTSP."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner, Result

from demo.cameras import system_packages
from siwatsystem.__main__ import app
from siwatsystem.cameras import devices
from siwatsystem.cameras.report import CameraReport, Packet, advice, summarise
from tests.cameras import film
from tests.servers import until

GOOD = CameraReport(
    address="rtsp://10.0.0.5/",
    opened_sec=0.4,
    first_frame_sec=0.6,
    width=1920,
    height=1080,
    watched_sec=10,
    frames=250,
    fps=25,
    codec="h264",
    declared_fps=25,
    mbit_per_sec=4,
    keyframe_sec=0.5,
    keyframe_longest_sec=0.52,
    jitter_ms=20,
)


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["camera", *arguments], env=env)


@contextmanager
def served(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """`siwat camera serve` as a process of its own; yields what it says to enter in a backend."""
    command = [
        sys.executable,
        "-m",
        "siwatsystem",
        "camera",
        "serve",
        "--port",
        "0",
        "--rtsp-port",
        "0",
        *options,
    ]
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    try:
        until(lambda: re.search(r"Ctrl-C|}\n", log.read_text()) or process.poll() is not None, 60)
        said = log.read_text()
        yield (
            json.loads(said)
            if "--json" in options
            else dict(re.findall(r"^(\w+) +(\S+)$", said, re.MULTILINE))
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def fetched(url: str) -> tuple[Any, bytes]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.headers, answer.read()


def test_a_pattern_is_served_and_moves(tmp_path: Path) -> None:
    with served(tmp_path, "--source", "pattern", "--no-rtsp") as told:
        headers, first = fetched(told["snapshotUrl"])
        assert headers["content-type"] == "image/jpeg"
        assert "no-store" in headers["cache-control"]
        assert json.loads(fetched(told["status"])[1]) == {
            "status": "ok",
            "width": 1280,
            "height": 720,
            "fps": 15.0,
        }
        until(lambda: fetched(told["snapshotUrl"])[1] != first)
        assert fetched(told["snapshotUrl"].removesuffix(".jpg"))[0]["content-type"] == "image/jpeg"
        report = run("check", told["snapshotUrl"], "--snapshot", "100", "--seconds", "2", "--json")
        seen = json.loads(report.stdout)
        assert (seen["width"], seen["height"], seen["codec"]) == (1280, 720, None)
        assert "--snapshot" in run("check", told["snapshotUrl"], "--seconds", "1").output
        assert seen["frames"] > 3


@pytest.mark.skipif(bool(system_packages.missing()), reason="GStreamer's RTSP server is not installed")
def test_what_to_enter_as_json(tmp_path: Path) -> None:
    with served(tmp_path, "--source", "pattern", "--json") as told:
        assert told.keys() == {"snapshotUrl", "snapshotInterval", "status", "rtspUrl"}
        assert told["rtspUrl"].startswith("rtsp://127.0.0.1:")
        assert fetched(told["snapshotUrl"])[0]["content-type"] == "image/jpeg"


@pytest.mark.skipif(bool(system_packages.missing()), reason="GStreamer's RTSP server is not installed")
def test_a_file_is_served_over_rtsp_and_checked(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", frames=60)
    with served(tmp_path, "--source", str(clip)) as told:
        assert re.fullmatch(r"rtsp://127\.0\.0\.1:\d+/stream", told["rtspUrl"])
        report = run("check", told["rtspUrl"], "--seconds", "3", "--json", SIWAT_TARGET_FPS="2")
        assert report.exit_code == 0, report.output
        seen = json.loads(report.stdout)
        assert seen["codec"] == "h264"
        assert (seen["width"], seen["height"]) == (64, 48)
        # Two keyframes a second, no B-frames: what the worker reads at least cost.
        assert 0.2 < seen["keyframe_sec"] < 1
        assert not seen["reordered"]
        assert seen["mbit_per_sec"] > 0
        assert seen["ended"] is None
        plain = run("check", told["rtspUrl"], "--seconds", "1")
        assert "h264" in plain.stdout
        assert "64 × 48" in plain.stdout
    gone = run("check", told["rtspUrl"], "--seconds", "1", "--json")
    assert gone.exit_code == 1
    assert json.loads(gone.stdout)["code"] == "stream_unreachable"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "nonsense"), "has no scheme"),
        (("check", "http://user:geheim@127.0.0.1:1/x"), "refused"),
        (("check", "rtsp://169.254.169.254/"), "not an address that cameras may have"),
        (("serve", "--source", "nothing.mp4", "--port", "0"), "there is no such file"),
        (("serve", "--source", "7", "--port", "0"), "no webcam 7"),
    ],
)
def test_what_cannot_be_opened_is_told(arguments: tuple[str, ...], words: str) -> None:
    told = run(*arguments)
    assert told.exit_code == 1
    assert words in told.stderr
    assert "geheim" not in told.output


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with served(tmp_path, "--source", "pattern", "--no-rtsp") as told:
        port = told["status"].rsplit(":", 1)[1].partition("/")[0]
        second = run("serve", "--source", "pattern", "--no-rtsp", "--port", port)
        assert second.exit_code == 1
        assert f"port {port}" in second.stderr


@pytest.mark.skipif(bool(system_packages.missing()), reason="GStreamer's RTSP server is not installed")
def test_a_port_of_rtsp_that_is_taken_is_told(tmp_path: Path) -> None:
    with served(tmp_path, "--source", "pattern", "--no-rtsp") as told:
        port = told["status"].rsplit(":", 1)[1].partition("/")[0]
        second = run("serve", "--source", "pattern", "--port", "0", "--rtsp-port", port)
        assert second.exit_code == 1
        assert f"siwat: RTSP: port {port}" in second.stderr


def test_a_server_that_takes_no_stream_is_told_without_the_password() -> None:
    told = run("serve", "--source", "pattern", "--port", "0", "--publish", "rtsp://me:geheim@127.0.0.1:1/x")
    assert told.exit_code == 1
    assert "takes no stream" in told.stderr
    assert "geheim" not in told.output


def test_no_camera_is_no_failure() -> None:
    if any(Path("/dev").glob("video*")):
        pytest.skip("this machine has cameras")
    assert run("list", "--json").stdout.strip() == "[]"
    assert "no camera opens" in run("list").stdout


def test_names_of_devices_are_the_systems(tmp_path: Path) -> None:
    (tmp_path / "video2").mkdir()
    (tmp_path / "video2" / "name").write_text("HD Webcam: HD Webcam\n")
    (tmp_path / "video3").mkdir()
    assert devices._linux_names(tmp_path) == {2: "HD Webcam: HD Webcam"}
    assert devices._names({"SPCameraDataType": [{"_name": "FaceTime"}, {}]}, "SPCameraDataType", "_name") == [
        "FaceTime"
    ]
    assert devices._names(None, "all", "Name") == []
    assert devices._asked(["/no/such/program"]) is None


def test_a_good_camera_needs_no_change() -> None:
    assert advice(GOOD, target_fps=2) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keyframe_sec": 4.0, "keyframe_longest_sec": 4.0}, "to 12 frames, 0.5 s"),
        ({"keyframe_sec": None, "keyframe_longest_sec": None}, "fewer than two keyframes"),
        ({"keyframe_longest_sec": 8.0}, "smart codec"),
        ({"width": 3840, "height": 2160}, "second stream"),
        ({"reordered": True}, "B-frames"),
        ({"damaged": 30}, "damaged"),
        ({"jitter_ms": 900.0}, "900 ms late"),
        ({"mbit_per_sec": 16.0}, "16.0 Mbit/s"),
        ({"first_frame_sec": 5.0}, "5.0 s"),
        ({"ended": "the stream has ended"}, "it ended early"),
        ({"codec": "mjpeg", "mbit_per_sec": 30.0}, "MJPEG"),
    ],
)
def test_each_fault_has_its_advice(changes: dict[str, Any], words: str) -> None:
    told = advice(replace(GOOD, **changes), target_fps=2)
    assert len(told) >= 1
    assert words in " ".join(told)


def test_who_analyses_nearly_every_frame_needs_no_keyframes() -> None:
    slow = replace(GOOD, fps=15, declared_fps=15, keyframe_sec=1.0, keyframe_longest_sec=1.0)
    assert advice(slow, target_fps=10) == []


def test_packets_are_summed_up() -> None:
    packets = [
        Packet(10 + n / 25 + (0.3 if n % 20 == 0 else 0), n / 25, 5000, n % 25 == 0) for n in range(100)
    ]
    seen = summarise(packets)
    assert seen["keyframe_sec"] == 1.0
    assert seen["mbit_per_sec"] == pytest.approx(1.0, rel=0.1)
    assert not seen["reordered"]
    assert 0 <= seen["jitter_ms"] <= 300
    swapped = [*packets[:3], packets[4], packets[3]]
    assert summarise(swapped)["reordered"]
    again = [Packet(1.0, 5.0, 1, True), Packet(2.0, 0.0, 1, True), Packet(3.0, 1.0, 1, True)]
    assert summarise(again)["keyframe_sec"] == 1.0  # a file that begins again
    assert not summarise(again)["reordered"]


def test_the_picture_of_an_odd_size_is_encoded(tmp_path: Path) -> None:
    from siwatsystem.cameras.encoding import Encoder, Unit
    from siwatsystem.cameras.film import Pattern

    units: list[Unit] = []
    pattern = Pattern(161, 91)
    encoder = Encoder(pattern, units.append)
    encoder.start()
    try:
        until(lambda: len(units) > 8, 30)
    finally:
        encoder.close()
        pattern.close()
    assert units[0].key
    file = tmp_path / "x.h264"
    file.write_bytes(b"".join(unit.data for unit in units))
    done, picture = cv2.VideoCapture(str(file)).read()
    assert done
    assert picture.shape == (90, 160, 3)
    assert np.asarray(picture).std() > 20


@pytest.mark.skipif(bool(system_packages.missing()), reason="GStreamer's RTSP server is not installed")
def test_an_rtsp_server_that_dies_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "siwatsystem", "camera", "serve", "--source", "pattern"]
    log = tmp_path / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", "0", "--rtsp-port", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
    try:
        until(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None, 60)
        for child in psutil.Process(process.pid).children():
            child.kill()
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    assert "siwat: RTSP has ended" in log.read_text()
