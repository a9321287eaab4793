"""Networks compiled for sizes as they come: who waits for that, and who does not."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import auto
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.openvino import OpenVINOBackend
from tests.nets import Nets

pytestmark = pytest.mark.filterwarnings("default")
USUAL = np.zeros((1080, 1920, 3), np.uint8)
TALL = np.zeros((1920, 1080, 3), np.uint8)


@pytest.fixture
def backend(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVINOBackend]:
    cache: Path = tmp_path_factory.getbasetemp() / "exported"
    settings = RuntimeSettings(device="cpu", backend="openvino", threads=2)
    loaded = auto.load(nets.path("detect.pt"), settings, "exact", cache)
    assert isinstance(loaded, OpenVINOBackend)
    yield loaded
    loaded.close()


def test_a_new_size_holds_up_only_who_asks_for_it(backend: OpenVINOBackend, monkeypatch: pytest.MonkeyPatch):
    asked, go, compiled = threading.Event(), threading.Event(), backend._compile
    times: list[tuple[int, int]] = []

    def slow(size: tuple[int, int], streams: int) -> Any:
        times.append(size)
        asked.set()
        assert go.wait(30)
        return compiled(size, streams)

    monkeypatch.setattr(backend, "_compile", slow)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(backend.infer([Picture(TALL)]))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert asked.wait(30)
    for _ in range(3):
        assert len(backend.infer([Picture(USUAL)])) == 1
    assert answers == []
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 2
    assert times.count(times[0]) == 1, "compiled once for all who wait"


def test_a_size_that_cannot_be_compiled_is_not_tried_for_every_frame(
    backend: OpenVINOBackend, monkeypatch: pytest.MonkeyPatch
):
    tries: list[int] = []

    def fail(size: tuple[int, int], streams: int) -> Any:
        tries.append(streams)
        raise ModelInvalid("no such size")

    monkeypatch.setattr(backend, "_compile", fail)
    for _ in range(3):
        with pytest.raises(ModelInvalid, match="no such size"):
            backend.infer([Picture(TALL)])
    assert tries == [1]
    assert len(backend.infer([Picture(USUAL)])) == 1
