"""Frames per second of the demo pipeline, beside the same models run by plain `ultralytics` predict.

    python -m bench.pipeline [--json] [--frames 40] [--repeats 5]

Both sides see the same decoded 1280×720 frames in turn, on the same threads. The reference runs the
detector, cuts the best `Frontal` and `Car`, and runs both classifiers, as the archive asks for.
"""

import json
import os
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "demo" / "demo.mpta"


def frames_of(clip: Path, count: int) -> list[Any]:
    """`count` BGR frames with cars on them, spread over the middle of a clip."""
    import av

    truth = json.loads(clip.with_suffix(".json").read_text())
    shown = {i for car in truth["cars"] for i in range(car["first_frame"], car["last_frame"])}
    with av.open(str(clip)) as container:
        frames = [
            frame.to_ndarray(format="bgr24")
            for index, frame in enumerate(container.decode(video=0))
            if index in shown
        ]
    step = max(1, len(frames) // count)
    return frames[::step][:count]


class Reference:
    """The archive's models by ultralytics' own predict."""

    def __init__(self, folder: Path) -> None:
        from ultralytics import YOLO

        self.pipeline = json.loads((folder / "pipeline.json").read_text())["pipeline"]
        nodes = [self.pipeline, *self.pipeline["branches"]]
        self.models = {node["modelId"]: YOLO(str(folder / node["modelFile"])) for node in nodes}

    def run(self, image: Any) -> dict[str, str]:
        """The class by model id."""
        import cv2

        root = self.pipeline
        found = self.models[root["modelId"]].predict(image, conf=root["minConfidence"], verbose=False)[0]
        best: dict[str, Any] = {}
        for box in sorted(found.boxes, key=lambda box: float(box.conf)):
            best[found.names[int(box.cls)]] = [round(edge) for edge in box.xyxy[0].tolist()]
        results: dict[str, str] = {}
        for node in root["branches"]:
            if node["cropClass"] in best:
                x1, y1, x2, y2 = best[node["cropClass"]]
                crop = image[y1:y2, x1:x2]
                if "resizeTarget" in node:
                    crop = cv2.resize(crop, tuple(node["resizeTarget"]))
                said = self.models[node["modelId"]].predict(crop, verbose=False)[0]
                results[node["modelId"]] = said.names[said.probs.top1]
        return results


def rate(run: Any, frames: list[Any]) -> float:
    """Frames per second of `run` over `frames`, one after the other."""
    began = time.perf_counter()
    for frame in frames:
        run(frame)
    return len(frames) / (time.perf_counter() - began)


def measure(count: int, repeats: int) -> dict[str, Any]:
    """Both sides in turn. Returns frames/s and the ratio, each as min, median, max."""
    os.environ.setdefault("YOLO_VERBOSE", "false")
    from bench.ours import Ours

    clips = sorted((ROOT / "demo" / "clips").glob("*.mp4"))
    frames = [frame for clip in clips for frame in frames_of(clip, -(-count // len(clips)))][:count]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "reference"
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(folder)  # our own archive
        sides: dict[str, Any] = {"reference": Reference(folder).run}
        ours = Ours(ARCHIVE, Path(temporary) / "ours")
        sides |= {name: ours.runner(name) for name in ours.precisions}
        for run in sides.values():
            rate(run, frames[:3])
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(repeats):
            for name, run in sides.items():
                rates[name].append(rate(run, frames))
        ours.close()
    result: dict[str, Any] = {"name": "pipeline", "frames": len(frames), "cores": os.cpu_count()}
    for name, values in rates.items():
        result[f"{name}_fps"] = spread(values)
        if name != "reference":
            pairs = zip(values, rates["reference"], strict=True)
            result[f"{name}_ratio"] = spread([ours_rate / theirs for ours_rate, theirs in pairs])
    return result


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and greatest."""
    return {
        "min": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    frames: Annotated[int, typer.Option(help="Frames a repetition")] = 40,
    repeats: Annotated[int, typer.Option(help="Repetitions")] = 5,
) -> None:
    """Measure and print."""
    result = measure(frames, repeats)
    if as_json:
        print(json.dumps(result))
        return
    table = Table(title=f"Demo pipeline, {result['frames']} frames of 1280×720, {result['cores']} cores")
    for column in ("", "min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in result.items():
        if isinstance(values, dict):
            table.add_row(name, *(f"{values[key]:.2f}" for key in ("min", "median", "max")))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
