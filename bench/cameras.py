"""Four paced cameras: results a second at saturation, and what the others lose when one stalls.

    python -m bench.cameras [--json] [--repeats 3] [--seconds 5] [--precision fast]

Both sides read the same four RTSP cameras (1080p25, H.264, a keyframe a second) in turn, with the
detector of the demo's archive alone: the worker, told to analyse more frames than the machine can, and
ultralytics' `predict(streams, stream=True)` with its OpenVINO export (`bench.peers_ultralytics`). The
precision is the same, and so is what the network is given, 384×640: at the 320 that the demo's detector
was trained for two cores manage all that four cameras send, and nothing would be saturated. A result is
a frame of a camera that was predicted.

The fourth camera comes from a server of its own, which is stopped (SIGSTOP: its connections stay open,
nothing comes any more). What counts is what the other three give from that moment on, beside what they
gave right before: at a rate that the machine manages easily, where nothing may be lost, and at
saturation, where there is more for them. Other than that the worker's losing the camera and trying it
again fall into the window too.
"""

import hashlib
import json
import statistics
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bench import rig
from bench.clips import clip
from bench.peers_child import SETTLED
from bench.peers_counting import Window, by_subscription, kept, ratios
from bench.peers_process import FOLDER, SETTLE_SEC, Peer, Stretch, peer, prepare
from bench.record import Measure, Row, Spread, finish
from siwatsystem.runtime.detect import Detect
from siwatsystem.runtime.metadata import from_json
from siwatsystem.runtime.processor import has_bf16

DETECTOR = "car_frontal_detection.pt"
SIZE = 640
INPUT = 384, 640
"""What a 16:9 picture is brought to at that size, rows × columns."""
CAMERAS = 4
OTHERS = range(CAMERAS - 1)
STALLING = CAMERAS - 1
SATURATED_FPS = 30
"""More than a camera's 25 frames a second: every frame is due."""
EASY_FPS = 3
STALL_SEC = 12.0
"""Longer than the worker's `streams.read_timeout_sec` and `stale_after_sec`: it loses the camera in it."""
Precision = Literal["fast", "exact"]
NAMED = {"fast": "bf16", "exact": "f32"}
NOWHERE = "rtsp://127.0.0.1:9/nothing"


class Sources:
    """Four cameras, the last one of a server of its own."""

    def __init__(self, servers: Sequence[rig.Cameras]) -> None:
        self._steady, self._stalling = servers
        self.urls = [self._steady.url(f"camera{index}") for index in OTHERS]
        self.urls.append(self._stalling.url(f"camera{STALLING}"))

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """The fourth camera sends nothing within the block."""
        self._stalling.stall()
        try:
            yield
        finally:
            self._stalling.go_on()


@contextmanager
def sources() -> Iterator[Sources]:
    """Four 1080p25 cameras on loopback. Raises RuntimeError where no RTSP server can run."""
    film = clip(keyframe_sec=1.0)
    mounts = {f"camera{index}": film for index in range(CAMERAS)}
    last = {f"camera{STALLING}": mounts.pop(f"camera{STALLING}")}
    with rig.cameras(mounts) as steady, rig.cameras(last) as stalling:
        yield Sources([steady, stalling])


class Ours:
    """The worker with the detector alone, at a precision, on cameras or on none."""

    def __init__(self, running: rig.Worker, client: rig.Client, archive: Path, precision: Precision) -> None:
        self._worker = running
        self._client = client
        self._archive = archive
        self._precision = precision
        self._opened = 0
        self._names: list[str] = []
        # A camera that nobody can reach keeps the pipeline, and the precision it was found fit for,
        # while the other side is measured.
        self._subscribe("keeps-it-loaded", NOWHERE)

    @property
    def about(self) -> dict[str, Any]:
        """What the worker says of its precision, and the input of the network that it has loaded."""
        kept = f"models/.runtime/{hashlib.sha256(weights().read_bytes()).hexdigest()}-*/metadata.json"
        metadata = from_json(next(rig.DATA.glob(kept)).read_text(encoding="utf-8"))
        plan = Detect(metadata).plan(1080, 1920)
        return {"precision": self.precision, "input": list(plan.size)}

    @property
    def precision(self) -> str:
        """What the worker says it computes with, and why."""
        return json.loads(self._worker.get("/health"))["precision"].get("101", "")

    def open(self, urls: Sequence[str]) -> None:
        """Analyse `urls`; returns once all cameras give results, at the precision that was asked for."""
        self._opened += 1
        self._names = [f"display-{self._opened};camera-{index}" for index in range(len(urls))]
        for name, url in zip(self._names, urls, strict=True):
            self._subscribe(name, url)
        self._client.wait(self._is_going, f"{self._precision} results of every camera")
        time.sleep(SETTLE_SEC)

    def watch(self, seconds: float) -> Window:
        """Count what is analysed in the next `seconds`."""
        before = self._counts()
        with Stretch(self._worker.os) as stretch:
            time.sleep(seconds)
            after = self._counts()
        return stretch.window([b - a for a, b in zip(before, after, strict=True)])

    def close(self) -> None:
        for name in self._names:
            self._client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
        self._names = []
        self._client.wait(lambda: not self._client.online(), "the end of the subscriptions")

    def _subscribe(self, name: str, url: str) -> None:
        self._client.subscribe(name, url, self._archive)

    def _is_going(self) -> bool:
        time.sleep(0.1)  # asking costs the worker something, too
        return min(self._counts()) >= SETTLED and self.precision.startswith(self._precision)

    def _counts(self) -> list[int]:
        series = "siwat_frames_analysed_total"
        return by_subscription(self._worker.metrics(), series, "subscription", self._names)


@contextmanager
def ours(fps: float, precision: Precision) -> Iterator[Ours]:
    """A worker that analyses `fps` frames a second and camera, as far as it can."""
    settings = {
        "SIWAT_TARGET_FPS": str(fps),
        "SIWAT_MAX_RETRIES": "-1",
        "SIWAT_MAX_STREAMS": "8",
        "SIWAT_RUNTIME__PRECISION": "exact" if precision == "exact" else "auto",
    }
    made = archive()
    with rig.worker(**settings) as running, rig.Client(running) as client:
        yield Ours(running, client, made, precision)


def weights() -> Path:
    """The demo's detector at `SIZE`."""
    path, trained = FOLDER / f"size{SIZE}" / DETECTOR, FOLDER / DETECTOR
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(rig.ARCHIVE) as archive:
        fresh = archive.read(DETECTOR)
    if not path.exists() or not trained.exists() or trained.read_bytes() != fresh:
        trained.write_bytes(fresh)
        prepare("resize", str(trained), str(path), str(SIZE))
    return path


def archive() -> Path:
    """The demo's archive with that detector alone."""
    source = rig.archive("detector", rig.detector_only)
    path = source.with_name(f"detector{SIZE}.mpta")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            if entry == DETECTOR:
                new.write(weights(), entry)
            elif not entry.endswith(".pt"):
                new.writestr(entry, old.read(entry))
    return path


def comparable(side: "Ours | Peer") -> None:
    """Raises RuntimeError for a side that gives the network something else than the others do."""
    if tuple(side.about["input"]) != INPUT:
        raise RuntimeError(f"input of {side.about['input']}, not {INPUT}: not like with like")


@contextmanager
def ultralytics(precision: Precision) -> Iterator[Peer]:
    with peer("peers_ultralytics", str(weights()), "--precision", NAMED[precision]) as running:
        yield running


def saturation(
    cameras: Sources, sides: dict[str, Ours | Peer], repeats: int, seconds: float
) -> dict[str, list[Window]]:
    """Every side on all cameras in turn, `repeats` times; nobody else has a camera meanwhile."""
    windows: dict[str, list[Window]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            side.open(cameras.urls)
            windows[name].append(side.watch(seconds))
            side.close()
    return windows


def stall(cameras: Sources, side: Ours | Peer, repeats: int, seconds: float) -> list[tuple[Window, Window]]:
    """Windows with all cameras live, and from the moment on that the last one is stopped."""
    pairs: list[tuple[Window, Window]] = []
    for _ in range(repeats):
        side.open(cameras.urls)
        live = side.watch(seconds)
        with cameras.stalled():
            pairs.append((live, side.watch(STALL_SEC)))
        side.close()
    return pairs


def measure(precision: Precision, repeats: int, seconds: float) -> Row:
    with ExitStack() as stack:
        cameras = stack.enter_context(sources())
        theirs = stack.enter_context(ultralytics(precision))
        with ours(SATURATED_FPS, precision) as worker:
            windows = saturation(cameras, {"ours": worker, "ultralytics": theirs}, repeats, seconds)
            comparable(worker)
            comparable(theirs)
            said = worker.about
            busy = stall(cameras, worker, 1, STALL_SEC)
        stopped = stall(cameras, theirs, 1, seconds)
        with ours(EASY_FPS, precision) as worker:
            easy = stall(cameras, worker, 1, STALL_SEC)
        about = theirs.about
    note = f"{NAMED[precision]} on both sides"
    rates = ratios(windows["ours"], windows["ultralytics"])
    return Row(
        "cameras",
        3,
        "four paced RTSP cameras (1080p25), results/s at saturation, detector alone",
        "ultralytics predict(streams, stream=True), its OpenVINO export",
        [
            Measure(
                "results/s",
                Spread.of(rates),
                1.3,
                "least",
                note=note,
            ),
            _kept("one of four stalled, kept by the others, unsaturated", easy),
            _kept("one of four stalled, kept by the others, saturated", busy),
        ],
        {
            "ours": said,
            "ultralytics": about,
            "results_per_sec": {
                name: {"median": round(statistics.median(one.rate for one in own), 2)}
                for name, own in windows.items()
            },
            "windows": {name: [one.as_dict() for one in own] for name, own in windows.items()},
            "stalled": {
                "ours_unsaturated": _pairs(easy),
                "ours_saturated": _pairs(busy),
                "ultralytics": _pairs(stopped),
            },
            "ultralytics_kept_when_stalled": [round(kept(*pair, OTHERS), 3) for pair in stopped],
            "target_fps": {"saturated": SATURATED_FPS, "unsaturated": EASY_FPS},
        },
    )


def _kept(name: str, pairs: Sequence[tuple[Window, Window]]) -> Measure:
    return Measure(name, Spread.of([kept(*pair, OTHERS) for pair in pairs]), 0.95, "least")


def _pairs(pairs: Sequence[tuple[Window, Window]]) -> list[dict[str, Any]]:
    return [{"live": live.as_dict(), "stalled": stalled.as_dict()} for live, stalled in pairs]


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Repetitions of the saturated window")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a window")] = 5.0,
    precision: Annotated[str, typer.Option(help="fast or exact; fast where the processor has bf16")] = "",
) -> None:
    """Measure, keep the result and print it."""
    chosen: Precision = "exact" if precision == "exact" or not (precision or has_bf16()) else "fast"
    finish(measure(chosen, repeats, seconds), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
