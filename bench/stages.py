"""What a frame costs, stage by stage: one 1080p camera's frames through the demo's archive.

    python -m bench.stages [--json] [--frames 60]

Every stage is the product's own code, run alone, one call after the other, on an otherwise idle
machine. `wall` is how long it takes, `cpu` what it costs (user and system, all threads of the process);
models compute on several threads, so theirs differ. The table of `docs/performance.md` is made of this.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import av
import typer

from bench import clips, record
from bench.ours import Ours
from siwatsystem.frames import Frame, encode_jpeg
from siwatsystem.pipeline.crops import crop_box, crop_of
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.reports import image_detection
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.letterbox import Letterbox, letterbox
from siwatsystem.streams.conversion import Decoded
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Subscription
from siwatsystem.views import View

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "demo" / "demo.mpta"
WARM_UP = 5

T = TypeVar("T")


class Stopwatch:
    """Milliseconds a call by stage: wall and processor time, the median of all calls."""

    def __init__(self) -> None:
        self._wall: dict[str, list[float]] = {}
        self._cpu: dict[str, list[float]] = {}

    def __call__(self, stage: str, what: Callable[..., T], *arguments: Any, **named: Any) -> T:
        cpu, wall = time.process_time(), time.perf_counter()
        out = what(*arguments, **named)
        self._wall.setdefault(stage, []).append((time.perf_counter() - wall) * 1000)
        self._cpu.setdefault(stage, []).append((time.process_time() - cpu) * 1000)
        return out

    def result(self) -> dict[str, dict[str, float]]:
        """By stage: `wall_ms` (median), `cpu_ms` (mean: its clock is coarse) and `calls`."""
        return {
            stage: {
                "wall_ms": round(statistics.median(walls[WARM_UP:] or walls), 3),
                "cpu_ms": round(statistics.fmean(self._cpu[stage][WARM_UP:] or self._cpu[stage]), 3),
                "calls": len(walls),
            }
            for stage, walls in self._wall.items()
        }


def read(path: Path, count: int, watch: Stopwatch) -> list[Any]:
    """`count` decoded frames spread over the clip; every packet is measured."""
    found: list[Any] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        packets = iter(container.demux(stream))
        step = max(1, stream.frames // count)
        for index in range(stream.frames):
            packet = watch("packet read", next, packets)
            frames = watch("decode", stream.codec_context.decode, packet)
            if index % step == 0:
                found.extend(frames)
    return found


def pixels(frames: Iterable[Any], size: tuple[int, int], watch: Stopwatch) -> None:
    """Both ways from a decoded frame to what the detector is given."""
    for frame in frames:
        decoded = Decoded(frame)
        plan = letterbox(*decoded.shape, size)
        image = watch("convert the whole (exact)", decoded.whole)
        watch("letterbox (exact)", plan.apply, image)
        watch("sample and letterbox (fast)", _sampled, decoded, plan)
        watch("JPEG of the whole", encode_jpeg, image)


def _sampled(decoded: Decoded, plan: Letterbox) -> None:
    height, width = decoded.shape
    image = decoded.sampled((0, 0, width, height), plan.inner)
    assert image is not None
    plan.apply(image)


def models(frames: Iterable[Any], ours: Ours, watch: Stopwatch) -> None:
    """Each node's model on what it is given, from pixels to detections; and the tree as a whole."""
    for precision in ours.precisions:
        ours.pipeline.precision = precision
        for number, frame in enumerate(frames):
            view = View(Frame(Decoded(frame), captured_at=number * 0.5, monotonic=0.0))
            if precision == "exact":
                assert view.image.size  # converted now: that is measured by itself
            _nodes(ours.pipeline, view, precision, watch)
            context = EventContext("bench;camera", "bench", captured_at=number * 0.5)
            memo = PredictionMemo()
            run = partial(ours.pipeline.run, view, context, memo=memo)
            watch(f"the whole pipeline ({precision})", run, state=PipelineState())
            known = f"the tree alone, answers of the models known ({precision})"
            _messages(watch(known, run, state=PipelineState()), watch)


def _nodes(pipeline: Pipeline, view: View, precision: Precision, watch: Stopwatch) -> None:
    root = pipeline.spec.pipeline
    stage = f"{root.model_id} ({precision})"
    seen = watch(stage, pipeline.models[root.model_id].predict, view, root.min_confidence, precision)
    assert isinstance(seen, tuple)
    for branch in root.branches:
        region = next((box for box in seen if box.class_name == branch.crop_class), None)
        if region is not None and (box := crop_box(region, view.shape)) is not None:
            part, stage = crop_of(view, box, branch), f"{branch.model_id} ({precision})"
            watch(stage, pipeline.models[branch.model_id].predict, part, branch.min_confidence, precision)


def _messages(events: list[Event], watch: Stopwatch) -> None:
    subscription = Subscription("bench;camera", SourceSpec("rtsp://camera/1"), 101, "Demo", "http://a/b.mpta")
    for event in events:
        watch("imageDetection written", image_detection, subscription, event, (0, 0), time.time(), 1)


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    frames: Annotated[int, typer.Option(help="Frames that are analysed", min=WARM_UP + 1)] = 60,
) -> None:
    """Measure, keep `bench/results/stages.json`, print."""
    watch = Stopwatch()
    found = read(clips.clip(), frames, watch)
    with tempfile.TemporaryDirectory() as temporary:
        ours = Ours(ARCHIVE, Path(temporary))
        try:
            size = ours.pipeline.models[ours.pipeline.spec.pipeline.model_id].input_size
            pixels(found, size, watch)
            models(found, ours, watch)
        finally:
            ours.close()
    result = {
        "name": "stages",
        "stages": watch.result(),
        "command": "python -m bench.stages",
        "machine": record.machine(),
        "versions": record.versions(),
    }
    record.RESULTS.mkdir(exist_ok=True)
    path = record.RESULTS / "stages.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    for stage, figures in result["stages"].items():
        print(f"{stage:70} {figures['wall_ms']:8.3f} ms wall {figures['cpu_ms']:8.3f} ms cpu")


if __name__ == "__main__":
    typer.run(main)
