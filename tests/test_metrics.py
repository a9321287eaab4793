"""Series that are labelled by models end with the last pipeline or model of that name."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Detection, Prediction
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.opening import OpenPipeline, open_pipeline
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.batcher import Batcher
from siwatsystem.testing import FakeModel, FakeRegistry, RecordingOutbox

IMAGE = np.zeros((60, 80, 3), np.uint8)
CAR = Detection("Car", 0.9, (10, 20, 60, 50))
PIPELINE = """{"pipeline": {"modelId": "series-root", "modelFile": "root.pt", "minConfidence": 0.5,
 "triggerClasses": ["Car"], "branches": [{"modelId": "series-branch", "modelFile": "branch.pt",
 "minConfidence": 0.5, "triggerClasses": ["Car"], "crop": true}]}}"""


class Backend:
    """Sees nothing, once it is let."""

    task, names, input_size = "classify", {0: "Car"}, (64, 64)
    precision, runtime, batch_size, concurrency = "exact", "fake", 1, 4

    def __init__(self) -> None:
        self.go, self.busy = threading.Event(), threading.Event()
        self.go.set()

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        self.busy.set()
        assert self.go.wait(30)
        return [()] * len(pictures)

    def close(self) -> None: ...


def counted(name: str, model: str) -> float | None:
    return REGISTRY.get_sample_value(f"{name}_count", {"model": model})


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


def opened(folder: Path, threads: ThreadPoolExecutor) -> OpenPipeline:
    (folder / "pipeline.json").write_text(PIPELINE)
    models = {name: FakeModel((CAR,), ["Car"]) for name in ("root.pt", "branch.pt")}
    for name in models:
        (folder / name).touch()
    settings = RuntimeSettings(precision="exact")
    return open_pipeline(folder, FakeRegistry(models), RecordingOutbox(), threads, settings)  # type: ignore[arg-type]


def test_a_nodes_times_end_with_the_last_pipeline_that_has_it(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    first, second = opened(tmp_path, threads), opened(tmp_path, threads)
    for one in (first, second):
        one.pipeline.run(IMAGE, EventContext())
    of_nodes = [counted("siwat_node_seconds", name) for name in ("series-root", "series-branch")]
    assert of_nodes == [2, 2]
    first.close()
    first.close()
    assert counted("siwat_node_seconds", "series-root") == 2, "the other one is open still"
    second.close()
    assert counted("siwat_node_seconds", "series-root") is None
    assert counted("siwat_node_seconds", "series-branch") is None
    late: Pipeline = second.pipeline
    late.run(IMAGE, EventContext())
    assert counted("siwat_node_seconds", "series-root") is None, "what comes late begins no series anew"
    third = opened(tmp_path, threads)
    assert counted("siwat_node_seconds", "series-root") == 0
    third.close()


def test_a_models_batches_end_with_the_last_that_is_loaded() -> None:
    hung = Backend()
    first, second = Batcher(hung, 0, "series-model"), Batcher(Backend(), 0, "series-model")
    second.predict(IMAGE)
    hung.go.clear()
    asked = threading.Thread(target=first.predict, args=(IMAGE,))
    asked.start()
    assert hung.busy.wait(30)
    assert counted("siwat_batch_size", "series-model") == 2
    first.abandon()
    assert counted("siwat_batch_size", "series-model") == 2
    second.close()
    second.close()
    assert counted("siwat_batch_size", "series-model") is None
    hung.go.set()
    asked.join(30)
    assert counted("siwat_batch_size", "series-model") is None


def test_models_that_come_and_go_leave_no_series_and_lose_none() -> None:
    """Many threads load and close models of one name, which none of them may take from another."""
    wrong: list[object] = []

    def come_and_go() -> None:
        for _ in range(200):
            batcher = Batcher(Backend(), 0, "series-shared")
            batcher.predict(IMAGE)
            if not counted("siwat_batch_size", "series-shared"):
                wrong.append("a series ended that somebody held")
            batcher.close()

    crowd = [threading.Thread(target=come_and_go) for _ in range(4)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(60)
    assert wrong == []
    assert counted("siwat_batch_size", "series-shared") is None
