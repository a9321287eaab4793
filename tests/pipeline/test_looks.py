"""Looks: an archive's encoder tells objects apart where places do not."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Detection
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.opening import open_pipeline
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.testing import FakeEncoder, FakeModel, FakeRegistry, RecordingOutbox

RED, BLUE = (0, 0, 255), (255, 0, 0)
APPROACH = [(100, 300), (130, 270), (160, 240)]
"""Left edges of a red car and a blue one on their way towards each other."""
APART = [(130, 270), (100, 300)]
"""Where they are a second later, after nothing was seen: they have turned round, and have not passed."""


def boxes_of(edges: tuple[int, int]) -> tuple[Detection, Detection]:
    red, blue = (Detection("Car", 0.9, (x, 100.0, x + 80.0, 180.0)) for x in edges)
    return red, blue


def picture(edges: tuple[int, int]) -> Image:
    canvas = np.zeros((240, 500, 3), np.uint8)
    for x, paint in zip(edges, (RED, BLUE), strict=True):
        canvas[100:180, x : x + 80] = paint
    return canvas


def colour(image: Image) -> list[float]:
    """Red or blue, as a direction."""
    blue, _, red = image.reshape(-1, 3).mean(axis=0)
    return [float(red), float(blue)]


def folder(tmp_path: Path, **tracking: Any) -> Path:
    node = {"modelId": "cars", "modelFile": "cars.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}
    data = {"pipeline": {**node, "objectClass": "Car", "tracking": tracking}}
    (tmp_path / "pipeline.json").write_text(json.dumps(data))
    for name in ("cars.pt", "looks.onnx"):
        (tmp_path / name).write_bytes(b"weights")
    return tmp_path


def ids(tmp_path: Path, **tracking: Any) -> list[list[int | None]]:
    """Ids of the red and the blue car before they met, and when they have turned round."""
    encoder = FakeEncoder(colour)
    shown: list[tuple[Detection, ...]] = []
    detector = FakeModel(lambda image: shown[-1], ["Car"])
    registry = FakeRegistry({"cars.pt": detector}, {"looks.onnx": encoder})
    told: list[list[int | None]] = []
    with ThreadPoolExecutor(1) as threads:
        opened = open_pipeline(
            folder(tmp_path, **tracking),
            registry,  # type: ignore[arg-type]
            RecordingOutbox(),  # type: ignore[arg-type]
            threads,
            RuntimeSettings(),
        )
        state = PipelineState()
        for number, edges in enumerate([*APPROACH, None, *APART]):
            shown.append(() if edges is None else boxes_of(edges))
            image = np.zeros((240, 500, 3), np.uint8) if edges is None else picture(edges)
            context = EventContext(captured_at=1000 + number / 2)
            events = opened.pipeline.run(image, context, state=state)
            by_edge = {event.xyxy[0]: event.tracker_id for event in events}
            told.append([] if edges is None else [by_edge[x] for x in edges])
        opened.close()
    assert bool(encoder.seen) == bool(tracking.get("reidModel"))
    return [told[2], told[-1]]


def test_looks_tell_cars_apart_that_turn_round_where_they_meet(tmp_path: Path) -> None:
    looks = {"method": "botsort", "reidModel": "looks.onnx", "config": {"with_reid": True}}
    before, after = ids(tmp_path, **looks)
    assert before == after
    assert sorted(before) == [1, 2]  # type: ignore[type-var]


def test_strongsort_compares_looks_too(tmp_path: Path) -> None:
    before, after = ids(tmp_path, method="strongsort", reidModel="looks.onnx")
    assert before == after


def test_without_looks_they_are_taken_to_have_passed_each_other(tmp_path: Path) -> None:
    before, after = ids(tmp_path, method="botsort")
    assert after == before[::-1]


def test_what_is_no_encoder_is_refused_and_nothing_stays_loaded(tmp_path: Path) -> None:
    registry = FakeRegistry({"cars.pt": FakeModel((), ["Car"])})
    looks = {"method": "botsort", "reidModel": "nix.onnx", "config": {"with_reid": True}}
    place = folder(tmp_path, **looks)
    (place / "nix.onnx").write_bytes(b"weights")
    with ThreadPoolExecutor(1) as threads, pytest.raises(ModelInvalid, match="no encoder"):
        open_pipeline(
            place,
            registry,  # type: ignore[arg-type]
            RecordingOutbox(),  # type: ignore[arg-type]
            threads,
            RuntimeSettings(),
        )
    assert registry.held == []
