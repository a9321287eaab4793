"""The whole service: the real control server launches real apps, which analyse real files and cameras."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.app_site import (
    Site,
    Tracking,
    analysed,
    config_in,
    differing,
    lines_of,
    run_alone,
    run_together,
    short_clips,
    site,
    until,
)
from tests.acceptance.apps import quick_archive, quick_settings
from tests.analysis.scripted_server import environment
from tests.cameras import film, rtsp
from tests.nets import nets  # noqa: F401 # fixture

pytestmark = pytest.mark.timeout(900)

FILES = 4


def settings(folder: Path) -> dict[str, str]:
    """Of the demo's archive: without an export, that takes longer than all of these tests."""
    kept = environment(folder / "data")
    return {name: value for name, value in kept.items() if name.startswith("SIWAT_")}


def launched(served: Site, configs: Sequence[Path], slots: int = 2) -> list[str]:
    """Instances of apps that load their models side by side."""
    bodies = [{"config_path": str(config), "streams_count": slots} for config in configs]
    found = [served.post("/launch", body)["instance_id"] for body in bodies]
    for instance in found:
        served.until_connected(instance)
    return found


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has asked how."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_a_served_app_finds_is_what_a_run_finds_and_a_camera_goes_on_until_it_is_ended(nets, tmp_path):  # noqa: F811
    """One app follows from file to file and gets each file as a request of its own, the other begins
    anew with each file and gets all in one; a live camera takes the place of a file then."""
    archive = quick_archive(nets, tmp_path / "archive")
    impatient = {"SIWAT_RECONNECT_INTERVAL_SEC": "1", "SIWAT_STALE_AFTER_SEC": "3"}
    env = quick_settings(tmp_path / "data") | impatient
    clips, out = short_clips(tmp_path / "clips", 4, 8), tmp_path / "out"
    kinds: tuple[Tracking, ...] = ("camera", "file")
    configs = [config_in(tmp_path, kind, archive=str(archive), tracking=kind) for kind in kinds]
    with site(tmp_path, env) as served, rtsp(tmp_path) as camera:
        instances = launched(served, configs, slots=1)
        found: dict[str, list] = {}
        for kind, instance, share in zip(kinds, instances, (clips[:2], clips[2:]), strict=True):
            found |= analysed(served, [instance], share, out, kind)
        alone = run_together(clips, tmp_path / "alone", env, archive)
        assert any(line["events"] for lines in alone.values() for line in lines)
        assert differing(found, alone) == []

        body = {"camera_id": 9, "type": "videostream", "path": camera.url(), "name": "Yard"}
        body |= {"output_dir": str(out), "instance_id": instances[0]}
        started = served.post("/analysis/start", body)
        path = f"/requests/{started['request_id']}"
        until(lambda: served.get(path)["state"] == "running")
        assert served.get(path)["reason"] is None
        camera.kill()
        until(lambda: served.get(path)["reason"])
        assert served.get(path)["state"] == "running"
        camera.start()
        until(lambda: served.get(path)["reason"] is None)
        served.post(f"/analysis/{instances[0]}/interrupt?stream_id=0&camera_id=9&reason=enough")
        until(lambda: served.get(path)["state"] == "interrupted")
        (live,) = out.glob("camera-9-*.jsonl")
        numbers = [line["frame"] for line in lines_of(live)]
        assert numbers == sorted(set(numbers)) != []

        served.post(f"/metrics/{instances[0]}/refresh")
        metrics = until(lambda: (told := served.get(f"/metrics/{instances[0]}"))["ram_mb"] and told)
        assert metrics["gpu_percent"] is None
        assert "gpus" not in metrics


@pytest.mark.long
@pytest.mark.parametrize("tracking", ["file", "camera"])
def test_forty_clips_over_two_apps_give_what_a_run_gives_on_each_alone(tmp_path, tracking: Tracking):
    env = settings(tmp_path)
    clips = short_clips(tmp_path / "clips", 40, 12)
    config = config_in(tmp_path, tracking, tracking=tracking)
    with site(tmp_path, env) as served:
        instances = launched(served, [config, config])
        found = analysed(served, instances, clips, tmp_path / "out", tracking)
    assert len(list((tmp_path / "out").iterdir())) == 40
    alone = run_alone(clips, tmp_path / "alone", 1, env)
    assert sum(bool(line["events"]) for lines in alone.values() for line in lines) > 40
    assert differing(found, alone) == []


@pytest.mark.long
def test_a_folder_of_videos_is_analysed_also_when_the_server_dies_meanwhile(tmp_path):
    config = config_in(tmp_path, "app", tracking="file")
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(FILES):
        film(videos / f"{number}.mp4", 60)
    with site(tmp_path, settings(tmp_path)) as served:
        answer = served.launch(config, 2)
        instance = answer["instance_id"]
        body = {"camera_id": 7, "type": "fileset", "path": str(videos), "name": "Gate"}
        served.post("/analysis/start", {**body, "output_dir": str(out)})
        until(lambda: list(out.glob("*.jsonl")))
        served.kill()
        served.start()
        until(lambda: len(list(out.glob("*.jsonl"))) == FILES)
        served.until_connected(instance)
        served.until_idle(instance)
        for number in range(FILES):
            (path,) = [one for one in out.glob("*.jsonl") if one.stem.startswith(str(number))]
            assert [line["frame"] for line in lines_of(path)] == list(range(60))
        pid = answer["host_pid"]
        served.post(f"/instances/{instance}/terminate")
        until(lambda: served.get(f"/processes/{answer['process_id']}")["status"] == "stopped")
        assert gone(pid)
