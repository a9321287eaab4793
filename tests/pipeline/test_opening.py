"""An open pipeline names its servers to the outbox, until nothing of it can submit any more."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siwatsystem.actions.targets import Target
from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.pipeline import opening
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.opening import OpenPipeline, open_pipeline
from siwatsystem.testing import FakeModel, FakeRegistry, RecordingOutbox

PIPELINE = """{"redis": {"host": "127.0.0.1", "port": 6379},
 "pipeline": {"modelId": "cars", "modelFile": "cars.pt", "minConfidence": 0.5, "triggerClasses": ["Car"],
 "actions": [{"type": "redis_publish", "channel": "c", "message": "m"},
  {"type": "webhook", "url": "http://127.0.0.1:9/a", "message": "m", "signed": false}]}}"""


class Outbox(RecordingOutbox):
    """Counts how often each kind of server is named."""

    def __init__(self) -> None:
        super().__init__()
        self.named: Counter[str] = Counter()

    def register(self, target: Target) -> str:
        self.named[target.kind] += 1
        return target.kind

    def release(self, key: str) -> None:
        self.named[key] -= 1


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


def opened(folder: Path, outbox: Outbox, model: Any) -> OpenPipeline:
    (folder / "pipeline.json").write_text(PIPELINE)
    (folder / "cars.pt").touch()
    settings = RuntimeSettings(precision="exact")
    registry: Any = FakeRegistry({"cars.pt": model})
    return open_pipeline(folder, registry, outbox, ThreadPoolExecutor(1), settings)


def test_its_servers_are_named_while_it_is_open(tmp_path: Path, outbox: Outbox) -> None:
    first, second = (opened(tmp_path, outbox, FakeModel((), ["Car"])) for _ in range(2))
    assert outbox.named == {"redis": 2, "webhook": 2}
    first.close()
    first.close()
    assert outbox.named == {"redis": 1, "webhook": 1}
    second.close()
    assert not +outbox.named


def test_one_that_cannot_be_opened_names_none(
    tmp_path: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ModelInvalid("no gate")

    monkeypatch.setattr(opening, "_gate", fail)
    with pytest.raises(ModelInvalid):
        opened(tmp_path, outbox, FakeModel((), ["Car"]))
    assert set(outbox.named) == {"redis", "webhook"}
    assert not +outbox.named


def test_a_picture_under_way_may_still_submit(
    tmp_path: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, busy = threading.Event(), threading.Event()

    class Hangs(FakeModel):
        def predict(self, *given: Any) -> Any:
            busy.set()
            assert go.wait(30)
            return super().predict(*given)

    monkeypatch.setattr(opening, "LAST_RUN_SEC", 0.05)
    one = opened(tmp_path, outbox, Hangs((), ["Car"]))
    image = np.zeros((40, 40, 3), np.uint8)
    run = threading.Thread(target=one.pipeline.run, args=(image, EventContext()))
    run.start()
    assert busy.wait(30)
    one.close()
    assert outbox.named == {"redis": 1, "webhook": 1}
    go.set()
    run.join(30)
    assert not +outbox.named
