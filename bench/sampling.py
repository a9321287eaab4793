"""What the ways from a decoder's planes to a network's input cost, and what they do to its boxes.

    python -m bench.sampling [--json] [--frames 150]

1080p frames of the demo's clips through the demo's detector in *exact*. `whole`: the reference, all of the
frame converted, then letterboxed by OpenCV. `sampled`: planes sampled with OpenCV's bilinear resize, as
*fast* does. `swscale`: FFmpeg's own conversion and scaling in one pass, as one would do it first.

Printed for each: processor time a frame, boxes of the reference with at least 0.5 confidence and how many of
them are lost, the median and the least overlap with them, the share that overlaps less than 0.99, and by how
much the confidence differs on average.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer

from bench import clips
from bench.ours import Ours
from siwatsystem.detections import Detection, iou
from siwatsystem.frames import Image, Size
from siwatsystem.runtime.letterbox import letterbox
from siwatsystem.streams.conversion import Decoded

ROOT = Path(__file__).parent.parent
CONFIDENT = 0.5


def whole(frame: Any, size: Size) -> Image:
    return letterbox(frame.height, frame.width, size).apply(Decoded(frame).whole())


def sampled(frame: Any, size: Size) -> Image:
    plan = letterbox(frame.height, frame.width, size)
    image = Decoded(frame).sampled((0, 0, frame.width, frame.height), plan.inner)
    assert image is not None
    return plan.apply(image)


def swscale(frame: Any, size: Size) -> Image:
    plan = letterbox(frame.height, frame.width, size)
    image = frame.reformat(plan.inner[1], plan.inner[0], "bgr24").to_ndarray()
    return plan.apply(np.asarray(image, np.uint8))


def decoded(count: int) -> list[Any]:
    """Frames spread over all clips."""
    found: list[Any] = []
    sources = sorted((ROOT / "demo" / "clips").glob("*.mp4"))
    for source in sources:
        with av.open(str(clips.clip(seconds=12.0, source=source))) as container:
            stream = container.streams.video[0]
            step = max(1, stream.frames * len(sources) // count)
            found += [frame for index, frame in enumerate(container.decode(stream)) if index % step == 0]
    return found


def judged(reference: Sequence[Sequence[Detection]], other: Sequence[Sequence[Detection]]) -> dict[str, Any]:
    """How far the boxes of `other` are from those of `reference`, in letterboxed pixels."""
    overlaps: list[float] = []
    apart: list[float] = []
    lost = 0
    for boxes, found in zip(reference, other, strict=True):
        for box in boxes:
            same = [one for one in found if one.class_name == box.class_name]
            best = max(same, key=lambda one: iou(box.xyxy, one.xyxy), default=None)
            if best is None or iou(box.xyxy, best.xyxy) < 0.5:
                lost += 1
                continue
            overlaps.append(iou(box.xyxy, best.xyxy))
            apart.append(abs(box.confidence - best.confidence))
    return {
        "boxes": len(overlaps) + lost,
        "lost": lost,
        "iou_median": round(statistics.median(overlaps), 4),
        "iou_least": round(min(overlaps), 4),
        "below_0.99": round(sum(one < 0.99 for one in overlaps) / len(overlaps), 4),
        "confidence_apart": round(statistics.fmean(apart), 4),
    }


def measure(count: int) -> dict[str, Any]:
    """By way: processor milliseconds a frame, and what became of the boxes."""
    frames = decoded(count)
    ways: dict[str, Callable[[Any, Size], Image]] = {"whole": whole, "sampled": sampled, "swscale": swscale}
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        ours = Ours(ROOT / "demo" / "demo.mpta", Path(temporary))
        try:
            model = ours.pipeline.models[ours.pipeline.spec.pipeline.model_id]
            reference: list[list[Detection]] = []
            for name, way in ways.items():
                began = time.process_time()
                inputs = [way(frame, model.input_size) for frame in frames]
                cost = (time.process_time() - began) * 1000 / len(frames)
                said = [model.predict(one, 0.25, "exact") for one in inputs]
                boxes = [[one for one in seen if isinstance(one, Detection)] for seen in said]
                if name == "whole":
                    reference = [[one for one in seen if one.confidence >= CONFIDENT] for seen in boxes]
                out[name] = {"cpu_ms": round(cost, 3), **judged(reference, boxes)}
        finally:
            ours.close()
    return {"name": "sampling", "frames": len(frames), "ways": out}


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    frames: Annotated[int, typer.Option(help="Frames over all clips")] = 150,
) -> None:
    """Measure and print."""
    result = measure(frames)
    if as_json:
        print(json.dumps(result))
        return
    for name, figures in result["ways"].items():
        print(f"{name:8} " + ", ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    typer.run(main)
