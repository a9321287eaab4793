"""Results of an analysis, made by hand."""

import time

import numpy as np

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.detections import Detection
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.trace import Step, Trace
from siwatsystem.streams.clip import ClipFrame

NODE = {"modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}
SPEC = parse({"pipeline": {**NODE, "modelId": "root", "branches": [{**NODE, "modelId": "brand_classifier"}]}})
BRAND = SPEC.pipeline.branches[0]


def result(
    index: int, car: int | None = None, brand: str = "Aster", failure: str | None = None, tracked: bool = True
) -> Analysed:
    """Frame `index` of 10 a second; on it the car of that track id, if one is given."""
    frame = ClipFrame(np.zeros((48, 64, 3), np.uint8), index / 10, index)
    captured_at = time.time() + frame.at
    if car is None:
        return Analysed(frame, captured_at, failure=failure)
    box = Detection("Car", 0.9, (10.04, 10, 40, 30), car if tracked else None)
    said = BranchResult(BRAND, brand, 0.87654)
    trace = Trace(
        (box,), [Step("root", "ran", "on the picture", "Car", 0.02), Step(BRAND.model_id, "skipped", "", "")]
    )
    event = Event(box, {"Car": box}, {BRAND.model_id: said}, "s1")
    return Analysed(frame, captured_at, [event], trace, (), 0.03)
