"""The sides that are compared on a clip: this product's pipeline, and ultralytics' own `model.track`."""

import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.identity import Box
from bench.ours import CACHE
from demo.pack import trained

DETECTOR, BRAND = "car_frontal_detection", "car_brand_classification"
LOOKS = "car_bodytype_classification"
"""Whose features tell cars apart by looks, with `botsort`."""
CONFIDENCE = 0.5
"""Least confidence of a box that either side tells; both continue tracks with less sure ones."""
LEAST_CONFIDENCE = 0.1
LEAST_VOTE = 0.7
"""A brand that the classifier is less sure of is no vote: fronts that are far or cut off."""
VOTED_SEC = 2.0
"""Time that votes must span: cars come from afar, and are read better when they are near."""


@dataclass
class Followed:
    """What one side made of a clip, a list entry or a `frame` per analysed picture."""

    tracks: list[dict[int, Box]] = field(default_factory=list[dict[int, Box]])
    fired: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Frame and track of each time that the archive's action ran."""
    brands: list[dict[Box, str]] = field(default_factory=list[dict[Box, str]])
    """The brand that is told of each event's box: the one that leads in the votes of its object."""


def pipeline_json(method: str, tracking: dict[str, Any]) -> dict[str, Any]:
    """An archive that follows cars, publishes each one once, and votes on its brand."""
    looks = {"reidModel": f"{LOOKS}.pt", "config": {"with_reid": True}} if method == "botsort" else {}
    return {
        "redis": "embedded",
        "pipeline": {
            "modelId": DETECTOR,
            "modelFile": f"{DETECTOR}.pt",
            "minConfidence": CONFIDENCE,
            "triggerClasses": ["Car", "Frontal"],
            "objectClass": "Car",
            "tracking": {"method": method, **looks, **tracking},
            "actions": [{"type": "redis_publish", "channel": "cars", "message": '{"track": "{id}"}'}],
            "branches": [
                {
                    "modelId": BRAND,
                    "modelFile": f"{BRAND}.pt",
                    "minConfidence": 0.5,
                    "minResultConfidence": LEAST_VOTE,
                    "voting": {"minSeconds": VOTED_SEC},
                    "triggerClasses": ["Frontal"],
                    "crop": True,
                    "cropClass": "Frontal",
                    "resizeTarget": [96, 96],
                }
            ],
        },
    }


class _Published:
    """An outbox that keeps the track ids of the messages of a frame."""

    def __init__(self) -> None:
        self.tracks: list[int] = []

    def register(self, target: Any) -> str:
        return target.key

    def release(self, key: str) -> None:
        pass

    def submit(self, event: Any) -> None:
        for job in event.jobs:
            self.tracks.append(int(json.loads(job.payload["message"])["track"]))


class Ours:
    """The demo's models in an archive that tracks, opened as the worker opens it."""

    def __init__(self, method: str, tracking: dict[str, Any], folder: Path) -> None:
        from siwatsystem.config import RuntimeSettings
        from siwatsystem.model_registry import ModelRegistry
        from siwatsystem.pipeline.opening import open_pipeline

        folder.mkdir(parents=True)
        (folder / "pipeline.json").write_text(json.dumps(pipeline_json(method, tracking)))
        for name in (DETECTOR, BRAND, LOOKS):
            shutil.copy(trained() / f"{name}.pt", folder)
        settings = RuntimeSettings(precision="exact")
        self._published = _Published()
        self._registry = ModelRegistry(settings, CACHE)
        self._threads = ThreadPoolExecutor(1)
        self._opened = open_pipeline(folder, self._registry, self._published, self._threads, settings)

    def follow(self, frames: Iterable[tuple[float, Any]]) -> Followed:
        """A clip's pictures (H×W×3 BGR) with their times in seconds."""
        from siwatsystem.pipeline.events import EventContext
        from siwatsystem.pipeline.state import PipelineState
        from siwatsystem.pipeline.trace import Trace

        state, followed = PipelineState(), Followed()
        for index, (at, image) in enumerate(frames):
            self._published.tracks.clear()
            trace, context = Trace(), EventContext(captured_at=1e9 + at)
            events = self._opened.pipeline.run(image, context, state=state, trace=trace)
            cars = {box.tracker_id: box.xyxy for box in trace.seen if box.class_name == "Car"}
            followed.tracks.append({track: box for track, box in cars.items() if track is not None})
            followed.fired += [(index, track) for track in self._published.tracks]
            told = {event.xyxy: event.branches.get(BRAND) for event in events}
            followed.brands.append(
                {
                    box: said.class_name
                    for box, said in told.items()
                    if said is not None and said.vote is not None
                }
            )
        return followed

    def close(self) -> None:
        self._opened.close()
        self._registry.close()
        self._threads.shutdown()


class Theirs:
    """`YOLO.track` with one of its own trackers, as its documentation says to call it."""

    def __init__(self, method: str) -> None:
        self.method = method

    def follow(self, frames: Iterable[tuple[float, Any]]) -> Followed:
        """The same as `Ours.follow`; only tracks, for `track` knows no events."""
        # It would otherwise install what it lacks.
        os.environ.update({"YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"})
        from ultralytics import YOLO

        model, followed = YOLO(trained() / f"{DETECTOR}.pt"), Followed()
        car = next(number for number, name in model.names.items() if name == "Car")
        for _, image in frames:
            [result] = model.track(
                image,
                persist=True,
                tracker=f"{self.method}.yaml",
                conf=LEAST_CONFIDENCE,
                classes=[car],
                verbose=False,
            )
            boxes = result.boxes
            found: dict[int, Box] = {}
            if boxes is not None and boxes.id is not None:
                for track, box, sure in zip(
                    boxes.id.int().tolist(), boxes.xyxy.tolist(), boxes.conf.tolist(), strict=True
                ):
                    if sure >= CONFIDENCE:
                        found[track] = tuple(box)
            followed.tracks.append(found)
        return followed
