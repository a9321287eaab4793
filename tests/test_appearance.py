"""Appearance encoders in the registry: loaded once, beside the model of the same file, closed last."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Classification
from siwatsystem.errors import ModelInvalid
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.runtime.batcher import ModelClosed
from siwatsystem.runtime.devices import has_bf16
from siwatsystem.testing import FakeEncoder, FakeRegistry
from tests.nets import Nets, nets

__all__ = ["nets"]


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    cache = tmp_path_factory.getbasetemp() / "exported"
    registry = ModelRegistry(RuntimeSettings(device="cpu", backend="openvino"), cache)
    yield registry
    registry.close()


def test_crops_become_unit_rows(registry: ModelRegistry, nets: Nets):
    encoder = registry.acquire_encoder("looks", nets.path("classify.pt"))
    pictures = nets.pictures("classify.pt")
    rows = encoder.embed(pictures)
    assert rows.shape == (len(pictures), encoder.dimensions) == (len(pictures), 1280)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert encoder.embed([pictures[2]])[0] == pytest.approx(rows[2], abs=1e-5)
    assert encoder.embed([]).shape == (0, 1280)
    assert encoder.embed([pictures[0][:1, :1]]).shape == (1, 1280)
    with pytest.raises(ValueError, match="no picture"):
        encoder.embed([pictures[0][..., 0]])


def test_a_file_may_be_a_model_and_an_encoder(registry: ModelRegistry, nets: Nets):
    path, picture = nets.path("classify.pt"), nets.pictures("classify.pt")[0]
    model, encoder = registry.acquire("a/brand", path), registry.acquire_encoder("a/brand", path)
    assert registry.acquire_encoder("b/brand", path) is encoder
    status = registry.status()
    assert (status["total_references"], status["models"]["b/brand"]["task"]) == (3, "embed")
    registry.release("a/brand", encoder)
    assert registry.status()["models"]["a/brand"]["task"] == "classify"
    assert isinstance(model.predict(picture), Classification)
    assert encoder.embed([picture]).shape == (1, 1280)
    registry.release("b/brand", encoder)
    with pytest.raises(ModelClosed):
        encoder.embed([picture])
    assert isinstance(model.predict(picture), Classification)
    registry.release("a/brand", model)
    assert registry.status()["total_references"] == 0


def test_what_is_no_encoder_leaves_nothing(registry: ModelRegistry, nets: Nets, tmp_path: Path):
    with pytest.raises(ModelInvalid, match="detect model has no features"):
        registry.acquire_encoder("looks", nets.path("detect-static.onnx"))
    with pytest.raises(FileNotFoundError):
        registry.acquire_encoder("looks", tmp_path / "absent.onnx")
    assert registry.status()["total_models"] == 0


def test_many_threads_get_their_own_rows(registry: ModelRegistry, nets: Nets):
    encoder = registry.acquire_encoder("looks", nets.path("classify.pt"))
    pictures = nets.pictures("classify.pt")
    expected = encoder.embed(pictures)
    found: dict[int, np.ndarray] = {}

    def ask(index: int) -> None:
        found[index] = np.concatenate([encoder.embed([pictures[index]]) for _ in range(5)])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for index, row in enumerate(expected):
        assert np.abs(found[index] - row).max() < 1e-5


def test_fast_is_there_where_the_processor_has_it(registry: ModelRegistry, nets: Nets):
    encoder = registry.acquire_encoder("looks", nets.path("classify.pt"))
    pictures = nets.pictures("classify.pt")
    assert encoder.fast_available == has_bf16()
    assert not encoder.fast_loaded
    if not encoder.fast_available:
        with pytest.raises(ModelInvalid, match="no fast variant"):
            encoder.embed(pictures, "fast")
        return
    fast = encoder.embed(pictures, "fast")
    assert encoder.fast_loaded
    assert (fast * encoder.embed(pictures)).sum(1).min() > 0.99


def test_the_fake_is_asked_like_the_real_one(tmp_path: Path):
    file = tmp_path / "looks.onnx"
    file.touch()
    encoder = FakeEncoder(lambda image: (image[0, 0, 0], 4))
    registry = FakeRegistry({}, {"looks.onnx": encoder})
    held = registry.acquire_encoder("looks", file)
    assert held is encoder
    assert held.embed([np.full((2, 2, 3), 3, np.uint8)])[0].tolist() == pytest.approx([0.6, 0.8])
    assert held.embed([]).shape == (0, 2)
    registry.release("looks", held)
    assert registry.held == []
