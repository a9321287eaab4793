"""Networks compiled for sizes as they come: who waits for that, and who does not."""

import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import auto, openvino
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


def picture_of(backend: OpenVINOBackend, size: tuple[int, int]) -> Picture:
    """One that the network takes in that size (multiples of 32, the longer the input's)."""
    return Picture(np.zeros((size[0], size[1], 3), np.uint8))


def sizes(backend: OpenVINOBackend) -> set[tuple[int, int]]:
    return {size for size, _ in backend._compiled}


def test_a_size_that_nobody_needs_any_more_gives_its_place_to_another(
    backend: OpenVINOBackend, monkeypatch: pytest.MonkeyPatch
):
    now = [time.monotonic()]
    monkeypatch.setattr(openvino.time, "monotonic", lambda: now[0])
    (usual,) = sizes(backend)
    side = max(backend.input_size)
    others = [(side, 32 * count) for count in (1, 2, 3, 4, 5)]
    for other in others[:3]:
        backend.infer([picture_of(backend, other)])
    assert sizes(backend) == {usual, *others[:3]}
    # One more is served by the network of any size for as long as the four are in use.
    for size in (others[3], others[3]):
        backend.infer([picture_of(backend, size)])
        assert sizes(backend) == {usual, *others[:3], (-1, -1)}
    now[0] += openvino.UNUSED_SEC + 1
    for size in others[1:3]:
        backend.infer([picture_of(backend, size)])
    backend.infer([Picture(USUAL)])
    held = backend._request(others[0], 1)  # a call under way on what is given up now
    backend._used[others[0]] = 0.0
    backend.infer([picture_of(backend, others[4])])
    assert sizes(backend) == {usual, *others[1:3], others[4], (-1, -1)}
    assert held[1].infer(np.zeros((*others[0], 3), np.uint8)).size
    assert len(backend.infer([picture_of(backend, others[0])])) == 1
    assert others[0] not in sizes(backend)


def test_sizes_change_places_under_calls_of_many_threads(
    backend: OpenVINOBackend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(openvino, "UNUSED_SEC", 0.0)
    monkeypatch.setattr(backend, "_compile", functools.cache(backend._compile))
    side, errors = max(backend.input_size), list[BaseException]()

    def call(first: int) -> None:
        try:
            for count in range(6):
                backend.infer([picture_of(backend, (side, 32 * (1 + (first + count) % 6)))])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(2 * number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert errors == []
    assert len(sizes(backend) - {(-1, -1)}) <= openvino.MAX_COMPILED_SIZES


def test_closed_while_a_call_is_under_way(backend: OpenVINOBackend):
    key, request = backend._request((320, 320), 1)
    backend.close()
    assert request.infer(np.zeros((320, 320, 3), np.uint8)).size
    with pytest.raises(RuntimeError, match="is closed"):
        backend.infer([Picture(USUAL)])
    assert key not in backend._idle


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
