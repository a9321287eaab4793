"""Apps that a real control server launches and feeds with short clips, and `siwat run` on each clip alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import requests
from av.video.frame import PictureType
from av.video.stream import VideoStream

from demo.processes import Process, free_port

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "demo" / "demo.mpta"
CLIPS = ROOT / "demo" / "clips"
PATIENCE_SEC = 300.0
Tracking = Literal["camera", "file"]
Lines = list[dict[str, Any]]


def until(condition: Callable[[], Any], seconds: float = PATIENCE_SEC) -> Any:
    """What `condition` gave once it was true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.1)
    return value


class Site:
    """A control server on `folder`, which may be killed and started again. `env`: settings as variables."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._port = free_port()
        self._folder = folder
        self._env = {
            "SIWAT_DATA_DIR": str(folder / "data"),
            **env,
            "SIWAT_CONTROL__PORT": str(self._port),
            "SIWAT_CONTROL__CONFIG_FOLDERS": json.dumps([str(folder)]),
        }
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "siwatsystem", "control"]
        self.process = Process(command, self._folder / "control.log", self._env)
        until(self._answers, 90)

    def kill(self) -> None:
        """kill -9; the apps live on."""
        self.process.child.kill()
        self.process.stop()

    def close(self) -> None:
        """Ends the apps too."""
        self.process.stop(60)

    def get(self, path: str) -> Any:
        return self._ask("get", path).json()

    def post(self, path: str, body: Any = None) -> Any:
        """Raises AssertionError for anything but 200."""
        answer = self._ask("post", path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def launch(self, config: Path, slots: int) -> dict[str, Any]:
        """An app, connected and with its models loaded; what the launch answered."""
        launched = self.post("/launch", {"config_path": str(config), "streams_count": slots})
        self.until_connected(launched["instance_id"])
        return launched

    def until_connected(self, instance: str) -> None:
        until(lambda: self.get(f"/instances/{instance}")["ws_status"] == "connected")

    def until_idle(self, instance: str) -> None:
        until(lambda: self.get(f"/instances/{instance}")["status"] == "idle")

    def _answers(self) -> bool:
        assert self.process.child.poll() is None, self.process.tail()
        try:
            return self._ask("get", "/health").status_code == 200
        except requests.ConnectionError:
            return False

    def _ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(
            method, f"http://127.0.0.1:{self._port}/deepstream{path}", json=body, timeout=150
        )


@contextmanager
def site(folder: Path, env: Mapping[str, str]) -> Iterator[Site]:
    """A running one, ended with its apps."""
    made = Site(folder, env)
    try:
        yield made
    finally:
        made.close()


def short_clips(folder: Path, count: int, frames: int = 25) -> list[Path]:
    """`count` clips of `frames` pictures each, cut one after the other out of the demo's."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _pictures()
    return [_written(folder / f"clip-{number:02}.mp4", pictures, frames) for number in range(count)]


def config_in(folder: Path, name: str, **values: Any) -> Path:
    """An app's config, over the demo archive unless `archive` says otherwise."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"archive": str(ARCHIVE), **values}))
    return path


def run_alone(
    clips: Sequence[Path], out: Path, every: int, env: Mapping[str, str], archive: Path = ARCHIVE
) -> dict[str, Lines]:
    """The lines of `siwat run` on each file by itself, by the file's name."""
    for clip in clips:
        _run(archive, clip, out, every, env)
    return {clip.stem: lines_of(out / f"{clip.stem}.jsonl") for clip in clips}


def run_together(clips: Sequence[Path], out: Path, env: Mapping[str, str], archive: Path) -> dict[str, Lines]:
    """The same of one `siwat run` over their folder, which begins anew with each file."""
    _run(archive, clips[0].parent, out, 1, env)
    return {clip.stem: lines_of(out / f"{clip.stem}.jsonl") for clip in clips}


def lines_of(path: Path) -> Lines:
    """Without what names the run: the time of day, and session ids that are made up."""
    found = [json.loads(text) for text in path.read_text().splitlines()]
    for line in found:
        line.pop("time")
        for event in line["events"]:
            event.pop("session_id")
    return found


def analysed(
    served: Site, instances: Sequence[str], clips: Sequence[Path], out: Path, tracking: Tracking
) -> dict[str, Lines]:
    """The lines of apps that are there, by the file's name; the clips are shared out.

    Tracks go on within a camera. So with `tracking` by `camera` each clip is a request of its own; by `file`
    each app gets one request for all its clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    for place, instance in enumerate(instances):
        share = clips[place :: len(instances)]
        for group in [[clip] for clip in share] if tracking == "camera" else [share]:
            _start(served, instance, group, out)
    for instance in instances:
        served.until_idle(instance)
    return {clip.stem: lines_of(out / f"{clip.stem}.jsonl") for clip in clips}


def differing(found: Mapping[str, Lines], expected: Mapping[str, Lines]) -> list[str]:
    """Names of the files whose lines are not the same."""
    return [name for name in expected if found.get(name) != expected[name]]


def _start(served: Site, instance: str, clips: Sequence[Path], out: Path) -> None:
    files = [{"file_id": number, "file_path": str(clip)} for number, clip in enumerate(clips)]
    body = {"camera_id": int(clips[0].stem[-2:]), "type": "fileset", "path": str(clips[0].parent)}
    body |= {"name": "clips", "output_dir": str(out), "files": files, "instance_id": instance}
    served.post("/analysis/start", body)


def _run(archive: Path, source: Path, out: Path, every: int, env: Mapping[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "siwatsystem",
        "run",
        str(archive),
        "--source",
        str(source),
        "--no-video",
    ]
    command += ["--every", str(every), "--output", str(out), "--actions", "none"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=True, capture_output=True)


def _pictures() -> Iterator[av.VideoFrame]:
    """All of the demo's clips, again and again."""
    while True:
        for clip in sorted(CLIPS.glob("*.mp4")):
            with av.open(str(clip)) as container:
                yield from container.decode(video=0)


def _written(path: Path, pictures: Iterator[av.VideoFrame], frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        assert isinstance(stream, VideoStream)
        for number in range(frames):
            picture = next(pictures)
            if not number:
                stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
            picture.pict_type = PictureType.NONE  # what it was in the clip decides nothing here
            picture.pts, picture.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path
