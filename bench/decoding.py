"""What reading a 1080p25 camera costs that is analysed twice a second, the analysis aside.

    python -m bench.decoding [--json] [--repeats 5] [--seconds 7]

Real RTSP cameras, H.264; each read by two processes at a time, in the same seconds: by our pool, whose
newest frame is converted 2 times a second, and by `cv2.VideoCapture.read` of all frames, as most code
reads cameras. One camera has a keyframe every 2 s, so that all has to be decoded, the other one every
0.5 s, so that `decode: auto` may decode keyframes alone. Figures are processor seconds a second, of all
threads, from when both read.
"""

import contextlib
import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from bench import rig
from bench.clips import clip
from bench.record import Measure, Row, Spread, finish

FPS = 25
SETTLE_SEC = 5.0
"""By then `auto` has decided."""
Used = dict[str, Any]


@dataclass(frozen=True)
class Camera:
    """A camera, and the most of the other side's time that ours may take."""

    name: str
    keyframe_sec: float
    goal: float
    mode: str
    """What `decode: auto` has to come to."""
    says: str


CAMERAS = (
    Camera("rare", 2.0, 0.75, "all", "a keyframe every 2 s: all is decoded"),
    Camera("frequent", 0.5, 0.15, "keyframes", "a keyframe every 0.5 s, decode: auto"),
)


class Side:
    """A running `bench.decoding_child`."""

    def __init__(self, kind: str, url: str) -> None:
        self._name = f"{kind} on {url}"
        command = [sys.executable, "-m", "bench.decoding_child", kind, url, "auto"]
        self._child = subprocess.Popen(
            command, cwd=rig.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        """The next line that it prints. Raises RuntimeError when none comes."""
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], rig.PATIENCE_SEC)
        line = self._child.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"{self._name} says nothing any more")
        return line

    def ask(self, seconds: float) -> None:
        """Have it measure; `line` is the answer."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{seconds}\n")
        self._child.stdin.flush()

    def stop(self) -> None:
        self._child.kill()
        self._child.communicate()


@contextlib.contextmanager
def sides() -> Generator[dict[tuple[str, str], Side]]:
    """All readers, by camera and kind, once all of them read. Raises RuntimeError."""
    mounts = {camera.name: clip(keyframe_sec=camera.keyframe_sec) for camera in CAMERAS}
    running: dict[tuple[str, str], Side] = {}
    with rig.cameras(mounts) as server:
        try:
            for camera in CAMERAS:
                for kind in ("ours", "opencv"):
                    running[camera.name, kind] = Side(kind, server.url(camera.name))
            for side in running.values():
                side.line()
            time.sleep(SETTLE_SEC)
            yield running
        finally:
            for side in running.values():
                side.stop()


def measured(camera: Camera, ours: Sequence[Used], other: Sequence[Used]) -> Measure:
    """The ratio of each repetition. Raises RuntimeError where one side did not do its work, or the machine
    was too busy for the cameras."""
    modes = {one["mode"] for one in ours}
    rates = [one["converted"] for one in ours]
    same = all(
        abs(mine["packets"] - theirs["decoded"]) < 0.1 * mine["packets"]
        for mine, theirs in zip(ours, other, strict=True)
    )
    paced = min(one["packets"] for one in ours) > 0.95 * FPS
    if modes != {camera.mode} or min(rates) < 1.7 or not (same and paced):
        raise RuntimeError(f"{camera.name}: this is not what was to be measured: {ours} {other}")
    ratios = [mine["cpu"] / theirs["cpu"] for mine, theirs in zip(ours, other, strict=True)]
    return Measure(camera.says, Spread.of(ratios), camera.goal, "most")


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Repetitions")] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds of each")] = 7.0,
) -> None:
    """Measure and print."""
    used: dict[tuple[str, str], list[Used]] = {}
    with sides() as running:
        for _ in range(repeats):
            for side in running.values():
                side.ask(seconds)
            for key, side in running.items():
                used.setdefault(key, []).append(json.loads(side.line()))
    measures = [measured(one, used[one.name, "ours"], used[one.name, "opencv"]) for one in CAMERAS]
    figures = {f"{name} {kind}": _median(values) for (name, kind), values in used.items()}
    row = Row(
        name="decoding",
        number=4,
        what="CPU of a 1080p25 camera analysed at 2 fps, inference aside",
        against="`cv2.VideoCapture.read` of all frames",
        measures=measures,
        figures={**figures, "seconds": seconds, "repeats": repeats},
    )
    finish(row, as_json=as_json)


def _median(values: Sequence[Used]) -> dict[str, float]:
    """Processor milliseconds a second, packets, frames decoded and converted a second."""
    names = [name for name in values[0] if name != "mode"]
    out = {name: round(statistics.median(one[name] for one in values), 3) for name in names}
    out["cpu_ms"] = round(1000 * out.pop("cpu"), 1)
    return out


if __name__ == "__main__":
    typer.run(main)
