"""Pipelines on scripted models with a recording outbox, picture by picture."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from siwatsystem.detections import Classification, Detection
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.spec import parse
from siwatsystem.testing import FakeModel, RecordingOutbox

CAR = Detection("Car", 0.9, (10, 20, 110, 80))
FRONTAL = Detection("Frontal", 0.8, (20, 50, 60, 78))
PICTURE = np.random.default_rng(1).integers(0, 255, (100, 200, 3), np.uint8)
CONTEXT = EventContext("display-1;cam-1", "display-1", None, 1_700_000_000.5)


def root(**keys: Any) -> dict[str, Any]:
    base = {"modelId": "root", "modelFile": "root.pt", "minConfidence": 0.5}
    return {**base, "triggerClasses": ["Car", "Frontal"], **keys}


def branch(name: str, trigger: str = "Car", **keys: Any) -> dict[str, Any]:
    base = {"modelId": name, "modelFile": f"{name}.pt", "minConfidence": 0.5}
    return {**base, "triggerClasses": [trigger], "crop": True, **keys}


def said(name: str, confidence: float = 0.95) -> FakeModel:
    return FakeModel(Classification(name, confidence), [name], "classify")


def detector(*boxes: Detection) -> FakeModel:
    return FakeModel(boxes, sorted({box.class_name for box in boxes} | {"Car", "Frontal"}))


class Bench:
    """Runs a pipeline.json with scripted models."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.threads = threads
        self.outbox = RecordingOutbox()

    def pipeline(self, node: dict[str, Any], models: dict[str, FakeModel], servers: bool = True) -> Pipeline:
        data: dict[str, Any] = {"pipeline": node}
        targets: dict[str, str] = {}
        if servers:
            data |= {"redis": "embedded", "postgresql": "embedded"}
            targets = {"redis": "R", "postgresql": "P"}
        return Pipeline(parse(data), models, self.outbox, targets, self.threads)  # type: ignore[arg-type]

    def run(
        self,
        node: dict[str, Any],
        models: dict[str, FakeModel],
        context: EventContext = CONTEXT,
        servers: bool = True,
    ) -> list[Event]:
        return self.pipeline(node, models, servers).run(PICTURE, context)

    @property
    def kinds(self) -> list[str]:
        return [job.kind for job in self.outbox.jobs]


SAVE = {"type": "redis_save_image", "key": "i:{display_id}:{filename}", "region": "Frontal"}
PUBLISH = {"type": "redis_publish", "channel": "cars", "message": '{"image_key": "{image_key}"}'}


def update(*wait: str, **fields: str) -> dict[str, Any]:
    table = {"type": "postgresql_update_combined", "table": "car_frontal_info", "key_field": "session_id"}
    return {**table, "waitForBranches": list(wait), "fields": fields}
