"""Appearance encoders in the registry: loaded once, beside the model of the same file, closed last."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from siwatsystem.appearance import SharedEncoder
from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Classification
from siwatsystem.errors import ModelInvalid
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.runtime.batcher import ModelClosed
from siwatsystem.runtime.encoder import EncoderInput
from siwatsystem.runtime.processor import has_bf16
from siwatsystem.runtime.serving import RELOAD_SEC
from siwatsystem.supervision import Care, Forget, Watched
from siwatsystem.testing import FakeEncoder, FakeRegistry
from tests.nets import Nets, nets
from tests.servers import until

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


class Slow:
    """An encoder whose calls wait until it may `go`."""

    precision, runtime, input = "exact", "fake", EncoderInput((8, 8))

    def __init__(self, hangs: bool = False) -> None:
        self.go, self.busy = threading.Event(), threading.Event()
        self.hangs = hangs
        self.closed = 0

    def features(self, batch: np.ndarray) -> np.ndarray:
        # The first picture is that of the loading, which tells how long the rows are.
        if self.hangs and batch.any():
            self.busy.set()
            assert self.go.wait(30)
        return np.ones((len(batch), 4), np.float32)

    def close(self) -> None:
        self.closed += 1


class Kept(list[Watched]):
    """What is to be watched."""

    def __call__(self, watched: Watched) -> Forget:
        self.append(watched)
        return lambda: None


@pytest.fixture
def stuck(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[SharedEncoder, Slow, Slow, Watched]]:
    """An encoder that hangs in a call, what is loaded in its place, and how it is watched."""
    hung, fresh, watch = Slow(hangs=True), Slow(), Kept()
    backends = iter([hung, fresh])
    monkeypatch.setattr("siwatsystem.runtime.auto.load_encoder", lambda *_: next(backends))
    monkeypatch.setattr("siwatsystem.appearance._CLOSE_SEC", 0.2)
    settings, care = RuntimeSettings(device="cpu", backend="openvino"), Care(watch, 30.0)
    shared = SharedEncoder(tmp_path / "looks.onnx", "digest", settings, tmp_path, threading.Event(), care)
    caller = threading.Thread(target=shared.embed, args=([np.full((8, 8, 3), 9, np.uint8)],))
    caller.start()
    assert hung.busy.wait(30)
    yield shared, hung, fresh, watch[0]
    hung.go.set()
    caller.join(30)


def test_one_that_hangs_is_replaced_and_closed_when_it_comes_back(
    stuck: tuple[SharedEncoder, Slow, Slow, Watched],
):
    shared, hung, fresh, watched = stuck
    assert watched.look(time.monotonic()) is None
    assert watched.look(time.monotonic() + 31) == "a call takes longer than 30 s"
    assert watched.restart() is True
    until(lambda: shared._loaded.exact is fresh)
    assert len(shared.embed([np.ones((8, 8, 3), np.uint8)])) == 1
    assert hung.closed == 0
    hung.go.set()
    until(lambda: hung.closed == 1)
    shared.close()
    assert (hung.closed, fresh.closed) == (1, 1)


def test_closing_does_not_wait_for_one_that_hangs(stuck: tuple[SharedEncoder, Slow, Slow, Watched]):
    shared, hung, fresh, watched = stuck
    shared.close()
    assert hung.closed == 0
    assert watched.restart() is False
    with pytest.raises(ModelClosed):
        shared.embed([np.ones((8, 8, 3), np.uint8)])
    hung.go.set()
    until(lambda: hung.closed == 1)
    assert fresh.closed == 0


def test_what_is_loaded_anew_after_the_close_is_closed_too(stuck: tuple[SharedEncoder, Slow, Slow, Watched]):
    shared, _, fresh, _ = stuck
    shared.close()
    shared._reload()
    assert fresh.closed == 1


def test_where_there_is_no_thread_for_loading_it_is_tried_again(
    stuck: tuple[SharedEncoder, Slow, Slow, Watched], monkeypatch: pytest.MonkeyPatch
):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    shared, _, fresh, watched = stuck
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert watched.restart() is False
    assert watched.look(time.monotonic()) == "it could not be loaded anew: can't start new thread"
    assert watched.restart() is True
    until(lambda: shared._loaded.exact is fresh)
    until(lambda: watched.look(time.monotonic()) is None)
    shared.close()


def test_loading_anew_that_hangs_is_told(
    stuck: tuple[SharedEncoder, Slow, Slow, Watched], monkeypatch: pytest.MonkeyPatch
):
    shared, _, fresh, watched = stuck
    go = threading.Event()

    def load(*_: object) -> Slow:
        assert go.wait(30)
        return fresh

    monkeypatch.setattr("siwatsystem.runtime.auto.load_encoder", load)
    assert watched.restart() is True
    now = time.monotonic()
    assert watched.look(now + 31) is None
    assert watched.look(now + RELOAD_SEC + 1) == "loading it anew takes longer than 900 s"
    assert watched.restart() is False
    go.set()
    until(lambda: shared._loaded.exact is fresh)
    until(lambda: watched.look(now + RELOAD_SEC + 1) is None)
    shared.close()
