"""How old a frame is when its detection reaches the backend, in units of the time that its models take.

    python -m bench.age [--json] [--repeats 3]

One camera (1080p25, H.264) on a real worker that has little to do, with the demo's archive without its
actions and without tracking, so that every frame with a car on it goes through the models of the tree.
The age is counted from the arrival of the frame's last packet to the message in the client's hands, by
the clock of the machine that both run on; `timestamp` is cut to whole milliseconds, so half of one is
taken off.

The other side is the models alone: the calls that the pipeline makes for frames of the same clip, as it
makes them (the root's, then for each car those of its branches side by side), with pictures that have
been brought to the model's size before, at the same precision, with the same threads, and as often a
second: a model that is called twice a second finds its caches cold, whoever calls it. What it takes in
a row without a pause, where of branches only the longest counts, is told beside it. Both sides take
turns; no camera is open while the models run alone. The shipped rate, 2 fps, is judged; 10 fps is
measured beside it.
"""

import json
import statistics
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, cycle
from pathlib import Path
from typing import Annotated, Any

import av
import cv2
import typer

from bench import rig
from bench.clips import SOURCE, clip
from bench.ours import Ours
from bench.record import Measure, Row, Spread, finish
from siwatsystem.frames import encode_jpeg
from siwatsystem.runtime.backend import Precision

CAMERA = "display;camera"
HOLDER = "holder;camera"
NOWHERE = "rtsp://127.0.0.1:9/nothing"
"""A camera that refuses: its subscription only keeps the models loaded between two windows."""
WINDOWS_SEC = {"2": 8.0, "10": 6.0}
"""How long the worker is looked at, by frames analysed per second."""
ALONE_SEC = {"2": 3.0, "10": 2.0}
SETTLE_SEC = 1.0
WARM_SEC = 6.0
WARM_LOOPS = 8
"""Before the first window of a worker: networks are compiled when they are needed for the first time, some
of them when several calls are first made at the same moment."""
IN_A_ROW = 60
STEP = 12
"""Every so many frames of the clip the models alone are called for, about as often as the worker does."""
CUT_SEC = 0.0005
"""What a time stamp in whole milliseconds is too early, in the mean."""
Call = tuple[Any, Any, float]
"""A model, a picture, the least confidence."""


def plain(pipeline: dict[str, Any]) -> None:
    """For `rig.archive`: every frame goes through every model, nothing is stored."""
    rig.without_actions(pipeline)
    pipeline["pipeline"].pop("tracking", None)


def with_pictures(source: Path, film: Path) -> Path:
    """The archive with pictures of the clip as its `tests/`: on them its precision is decided at once."""
    path = source.with_stem(f"{source.stem}-pictures")
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(path, "w") as new,
        av.open(str(film)) as container,
    ):
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
        for index, frame in enumerate(container.decode(video=0)):
            if index % STEP == 0:
                new.writestr(f"tests/{index:04}.jpg", encode_jpeg(frame.to_ndarray(format="bgr24"), 95))
    return path


class Recorder:
    """A model that notes what it is asked for: itself, the picture, the least confidence."""

    def __init__(self, model: Any, calls: list[Call]) -> None:
        self._model = model
        self._calls = calls
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, picture: Any, min_confidence: float, precision: Precision) -> Any:
        with self._lock:
            self._calls.append((self._model, getattr(picture, "image", picture), min_confidence))
        return self._model.predict(picture, min_confidence, precision)


class Alone:
    """The models without anything around them."""

    def __init__(self, archive: Path, film: Path, folder: Path, precision: Precision | None) -> None:
        self._ours = Ours(archive, folder)
        self.precision: Precision = precision or self._ours.precisions[-1]
        self._threads = ThreadPoolExecutor(4)
        self._frames = [self._prepared(calls) for calls in self._calls(film)]
        self._next = cycle(self._frames)

    def close(self) -> None:
        self._threads.shutdown()
        self._ours.close()

    def paced(self, seconds: float, fps: float) -> list[float]:
        """Seconds that the models took for a frame, called as often as the worker calls them."""
        found: list[float] = []
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            time.sleep(max(0.0, began + len(found) / fps - now))
            found.append(self._side_by_side(next(self._next)))
        return found

    def in_a_row(self) -> list[float]:
        """The same without a pause, where of branches only the longest counts."""
        return [sum(max(map(self._one, group)) for group in next(self._next)) for _ in range(IN_A_ROW)]

    def _side_by_side(self, groups: list[list[Call]]) -> float:
        began = time.perf_counter()
        for group in groups:
            if len(group) == 1:
                self._one(group[0])
            else:
                list(self._threads.map(self._one, group))
        return time.perf_counter() - began

    def _one(self, call: Call) -> float:
        model, picture, least = call
        began = time.perf_counter()
        model.predict(picture, least, self.precision)
        return time.perf_counter() - began

    def _calls(self, film: Path) -> Iterator[list[Call]]:
        """What the pipeline asks its models for, for frames with something to be told of."""
        pipeline = self._ours.pipeline
        calls: list[Call] = []
        pipeline.models = {name: Recorder(model, calls) for name, model in pipeline.models.items()}
        run = self._ours.runner(self.precision)
        with av.open(str(film)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                calls.clear()
                if index % STEP == 0 and run(frame.to_ndarray(format="bgr24")):
                    yield list(calls)

    def _prepared(self, calls: list[Call]) -> list[list[Call]]:
        """The root's call, then those of each event's branches; no picture needs scaling any more."""
        groups: list[list[Call]] = []
        for model, picture, least in calls:
            height, width = model.input_size
            scale = min(height / picture.shape[0], width / picture.shape[1])
            size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
            fitted = picture if model.task == "classify" else cv2.resize(picture, size)
            if len(groups) <= 1 or any(model is other for other, _, _ in groups[-1]):
                groups.append([])
            groups[-1].append((model, fitted, least))
        return groups


class Ages:
    """The ages of frames, by their time stamps, as their last messages come."""

    def __init__(self) -> None:
        self._by_frame: dict[str, float] = defaultdict(float)

    def __call__(self, message: rig.Message, came: float) -> None:
        if message["type"] == "imageDetection" and message["subscriptionIdentifier"] == CAMERA:
            arrived = datetime.fromisoformat(message["timestamp"]).timestamp() + CUT_SEC
            self._by_frame[message["timestamp"]] = time.time() - (time.monotonic() - came) - arrived

    def take(self) -> list[float]:
        """What came since this was asked last."""
        found, self._by_frame = self._by_frame, defaultdict(float)
        return list(found.values())


@contextmanager
def watched(archive: Path, fps: str, folder: Path, precision: Precision) -> Iterator[tuple[rig.Client, Ages]]:
    """A worker whose models are loaded and whose precision is decided."""
    ages = Ages()
    with (
        rig.worker(folder, SIWAT_TARGET_FPS=fps, SIWAT_RUNTIME__PRECISION=precision) as running,
        rig.Client(running, ages) as client,
    ):
        client.subscribe(HOLDER, NOWHERE, archive)
        client.wait(lambda: _precision(running).startswith(f"{precision}: "), f"the archive runs {precision}")
        yield client, ages


def _precision(running: rig.Worker) -> str:
    found: dict[str, str] = json.loads(running.get("/health"))["precision"]
    return next(iter(found.values()), "")


def warm(client: rig.Client, url: str, archive: Path) -> None:
    """Have several loops at once for a while, each with a crop of its own."""
    names = [f"warm-{number};camera" for number in range(WARM_LOOPS)]
    for number, name in enumerate(names):
        crop = {"cropX1": 0, "cropY1": 0, "cropX2": 1920 - number, "cropY2": 1080}
        client.subscribe(name, url, archive, **crop)
    client.wait(lambda: all(client.detections[name] for name in names), "the camera is seen")
    time.sleep(WARM_SEC)
    for name in names:
        client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
    client.wait(lambda: _listed(client) == [HOLDER], "all are given back")


def window(client: rig.Client, ages: Ages, url: str, archive: Path, seconds: float) -> list[float]:
    """Ages in a stretch of time in which nothing begins or ends."""
    client.subscribe(CAMERA, url, archive)
    before = client.detections[CAMERA]
    client.wait(lambda: client.detections[CAMERA] > before, "the camera is seen")
    time.sleep(SETTLE_SEC)
    ages.take()
    time.sleep(seconds)
    found = ages.take()
    client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": CAMERA}})
    client.wait(lambda: CAMERA not in _listed(client), "the camera is given back")
    return found


def _listed(client: rig.Client) -> list[str]:
    state = client.state or {"cameraConnections": []}
    return [one["subscriptionIdentifier"] for one in state["cameraConnections"]]


def quantile(values: list[float], part: float) -> float:
    """The value that `part` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Windows at the shipped rate")] = 3,
    precision: Annotated[str, typer.Option(help="exact or fast; fast where this machine has it")] = "",
    folder: Annotated[Path, typer.Option(help="The worker's data folder")] = rig.DATA,
) -> None:
    """Measure, print and keep."""
    film = clip(seconds=12)
    # Pictures without the noise: far cars that could be either body type would keep it exact.
    archive = with_pictures(rig.archive("plain-tree", plain), SOURCE)
    measures: list[Measure] = []
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary, rig.cameras({"camera": film}) as cameras:
        alone = Alone(archive, film, Path(temporary), precision or None)  # type: ignore[arg-type]
        for fps, seconds in WINDOWS_SEC.items():
            models: list[list[float]] = []
            hot: list[float] = []
            found: list[list[float]] = []
            with watched(archive, fps, folder, alone.precision) as (client, ages):
                warm(client, cameras.url("camera"), archive)
                for _ in range(repeats if fps == "2" else max(1, repeats // 3)):
                    hot += alone.in_a_row()
                    models.append(alone.paced(ALONE_SEC[fps], float(fps)))
                    found.append(window(client, ages, cameras.url("camera"), archive, seconds))
            figures[f"{fps} fps"] = described(models, hot, found)
            if fps == "2":
                measures = judged(models, found)
        figures["precision"] = alone.precision
        alone.close()
    row = Row(
        "age", 6, "age of a frame when its detection is received", "its models alone", measures, figures
    )
    finish(row, as_json=as_json)


def judged(models: list[list[float]], found: list[list[float]]) -> list[Measure]:
    """The median of each window against the models beside it; of all windows the tail, as one has too few."""
    halves = [
        statistics.median(ages) / statistics.median(times) for times, ages in zip(models, found, strict=True)
    ]
    every, base = list(chain(*found)), list(chain(*models))
    tail = quantile(every, 0.99) / statistics.median(base)
    note = f"of {len(every)} frames"
    return [
        Measure("p50 at 2 fps", Spread.of(halves), 1.3, "most"),
        Measure("p99 at 2 fps", Spread.of([tail]), 2.5, "most", note=note),
    ]


def described(models: list[list[float]], hot: list[float], found: list[list[float]]) -> dict[str, Any]:
    """Milliseconds of both sides."""
    base, every = list(chain(*models)), list(chain(*found))
    half, tail = quantile(every, 0.5), quantile(every, 0.99)
    return {
        "models_ms": round(1000 * statistics.median(base), 1),
        "models_p99_ms": round(1000 * quantile(base, 0.99), 1),
        "models_in_a_row_ms": round(1000 * statistics.median(hot), 1),
        "age_p50_ms": round(1000 * half, 1),
        "age_p90_ms": round(1000 * quantile(every, 0.9), 1),
        "age_p99_ms": round(1000 * tail, 1),
        "frames": len(every),
        "p50_ratio": round(half / statistics.median(base), 3),
        "p99_ratio": round(tail / statistics.median(base), 3),
        "p50_ratio_in_a_row": round(half / statistics.median(hot), 3),
        "p99_ratio_in_a_row": round(tail / statistics.median(hot), 3),
    }


if __name__ == "__main__":
    typer.run(main)
