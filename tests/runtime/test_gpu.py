"""Everything that needs an NVIDIA GPU; skipped without one, with the reason.

.venv/bin/python -m pytest tests/runtime/test_gpu.py -v
"""

import importlib.util
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import auto, devices, export_cache
from siwatsystem.runtime.backend import Backend, Picture, Precision
from siwatsystem.runtime.batcher import Batcher
from siwatsystem.runtime.engine_header import ENGINE_BATCH
from siwatsystem.runtime.gate import MARGIN, compare
from siwatsystem.runtime.replays import BATCHES
from tests.nets import LEAST, Nets, demo_weights
from tests.runtime.test_exactness import agree, check


def missing() -> str:
    """Why nothing here can run; empty where it can."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    if devices.cuda_devices() == 0:
        return "no NVIDIA GPU, or no driver for it"
    import torch

    return "" if torch.cuda.is_available() else "this torch was built without CUDA, or not for this driver"


REASON = missing()
pytestmark = [
    pytest.mark.skipif(bool(REASON), reason=REASON or "there is a GPU"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("gpu"),
]
tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is None, reason="TensorRT is not installed"
)

TRAINED = [f"demo-{name}" for name in sorted(demo_weights())]
TORCH = RuntimeSettings(device="cuda", backend="torch")
TENSORRT = RuntimeSettings(device="cuda", backend="tensorrt")


def loaded(nets: Nets, name: str, tmp_path: Path, precision: Precision = "exact") -> Backend:
    return auto.load(nets.path(name), TORCH, precision, tmp_path)


@pytest.mark.parametrize("name", ["detect.pt", "classify.pt", *TRAINED])
def test_exact_agrees_with_the_reference(nets: Nets, tmp_path: Path, name: str):
    backend = loaded(nets, name, tmp_path)
    assert (backend.runtime, backend.precision, backend.batch_size) == ("torch", "exact", 16)
    assert check(backend, nets, name) >= len(nets.reference[name]) // 2
    backend.close()


@pytest.mark.parametrize("name", ["detect.pt", *TRAINED])
def test_a_batch_of_different_sizes_agrees_with_the_reference(nets: Nets, tmp_path: Path, name: str):
    backend = loaded(nets, name, tmp_path)
    pictures = [Picture(image, LEAST) for image in nets.pictures(name)]
    expected = nets.reference[name]
    for prediction, rows in zip(
        backend.infer([*pictures, *pictures, *pictures]), [*expected, *expected, *expected], strict=True
    ):
        agree(prediction, rows)
    backend.close()


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", ["detect.pt", "classify.pt"])
def test_the_usual_batches_are_cuda_graphs(
    nets: Nets, tmp_path: Path, name: str, precision: Precision, caplog: pytest.LogCaptureFixture
):
    backend = loaded(nets, name, tmp_path, precision)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert backend.recorded == len(BATCHES)
    backend.close()


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", TRAINED)
def test_graphs_say_what_the_calls_say(nets: Nets, tmp_path: Path, name: str, precision: Precision):
    """Also after other sizes were looked at: a graph must hold all that it reads."""
    backend, plain = (loaded(nets, name, tmp_path, precision) for _ in range(2))
    plain._replays._recordings.clear()
    plain._replays._recorder = None
    pictures = [Picture(image, 0.5 - MARGIN) for image in nets.pictures(name)] * 3
    for _ in range(3):
        for count in (1, 2, 3, 5, 8, 13, 16, 20):
            both = [one.infer(pictures[:1] * count) for one in (backend, plain)]
            result = compare(*both, 0.5)
            assert result.passed, (count, result.reason)
            if precision == "exact":
                for prediction in backend.infer([Picture(pictures[0].image, LEAST)] * count):
                    agree(prediction, nets.reference[name][0])
        assert compare(*(one.infer(pictures) for one in (backend, plain)), 0.5).passed
    assert plain.recorded == 0
    backend.close()
    plain.close()


@pytest.mark.parametrize("name", TRAINED)
def test_half_passes_the_gate(nets: Nets, tmp_path: Path, name: str):
    exact, fast = loaded(nets, name, tmp_path), loaded(nets, name, tmp_path, "fast")
    pictures = [Picture(image, 0.5 - MARGIN) for image in nets.pictures(name)]
    result = compare(exact.infer(pictures), fast.infer(pictures), 0.5)
    assert result.passed, result.reason
    exact.close()
    fast.close()


def test_two_models_on_two_threads_do_not_disturb_each_other(nets: Nets, tmp_path: Path):
    """One is looked at while the other is loaded and records its graphs."""
    backend = loaded(nets, "detect.pt", tmp_path)
    pictures = [Picture(image, LEAST) for image in nets.pictures("detect.pt")]
    end, failed = threading.Event(), []

    def work() -> None:
        try:
            while not end.is_set():
                for prediction, rows in zip(
                    backend.infer(pictures), nets.reference["detect.pt"], strict=True
                ):
                    agree(prediction, rows)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(3):
        other = loaded(nets, "classify.pt", tmp_path, "fast")
        assert other.recorded == len(BATCHES)
        other.infer([Picture(image, LEAST) for image in nets.pictures("classify.pt")])
        other.close()
    end.set()
    thread.join(60)
    backend.close()
    assert failed == []


def test_calls_from_many_threads_share_batches(nets: Nets, tmp_path: Path):
    batcher = Batcher(loaded(nets, "detect.pt", tmp_path), 0.005, "gpu-test")
    images, failed = nets.pictures("detect.pt"), []

    def ask(index: int) -> None:
        try:
            for turn in range(5):
                which = (index + turn) % len(images)
                agree(batcher.predict(images[which], LEAST), nets.reference["detect.pt"][which])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    batcher.close()
    assert failed == []


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_an_encoder_gives_on_the_gpu_what_it_gives_on_the_processor(
    nets: Nets, tmp_path: Path, precision: Precision
):
    cpu = RuntimeSettings(device="cpu", backend="torch")
    on_gpu = auto.load_encoder(nets.path("classify.pt"), TORCH, precision, tmp_path)
    on_cpu = auto.load_encoder(nets.path("classify.pt"), cpu, "exact", tmp_path)
    batch = np.random.default_rng(4).integers(0, 256, (37, *on_cpu.input.size, 3), np.uint8)
    for count in (1, 5, 16, 37):
        one, other = on_gpu.features(batch[:count]), on_cpu.features(batch[:count])
        assert one.shape == other.shape
        cosines = (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
        assert cosines.min() > (0.9999 if precision == "exact" else 0.99)
    on_gpu.close()
    on_cpu.close()


def test_nothing_stays_on_the_gpu_once_models_are_closed(nets: Nets, tmp_path: Path):
    import gc

    import torch

    def held() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(0)

    loaded(nets, "detect.pt", tmp_path, "fast").close()
    before = held()
    for _ in range(3):
        backend = loaded(nets, "detect.pt", tmp_path, "fast")
        backend.infer([Picture(image, LEAST) for image in nets.pictures("detect.pt")])
        backend.close()
        del backend
    assert held() <= before + (64 << 20)


@tensorrt
@pytest.mark.parametrize("name", TRAINED)
def test_an_engine_is_built_kept_and_passes_the_gate(
    nets: Nets, tmp_path_factory: pytest.TempPathFactory, name: str, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path_factory.getbasetemp() / "engines"
    assert auto.choose(nets.path(name), TENSORRT) == "tensorrt"
    exact = auto.load(nets.path(name), TENSORRT, "exact", cache)
    assert exact.runtime == "torch"
    fast = auto.load(nets.path(name), TENSORRT, "fast", cache)
    assert (fast.runtime, fast.precision, fast.batch_size) == ("tensorrt", "fast", ENGINE_BATCH)
    pictures = [Picture(image, 0.5 - MARGIN) for image in nets.pictures(name)]
    together = fast.infer([*pictures, *pictures, *pictures])
    result = compare(exact.infer(pictures), together[: len(pictures)], 0.5)
    assert result.passed, result.reason
    alone = [fast.infer([picture])[0] for picture in pictures] * 3
    result = compare(together, alone, 0.5)
    assert result.passed, result.reason
    fast.close()
    exact.close()
    monkeypatch.setattr(export_cache, "_run", None)  # no second build
    again = auto.load(nets.path(name), TENSORRT, "fast", cache)
    assert again.runtime == "tensorrt"
    again.close()


@tensorrt
def test_an_engine_that_does_not_fit_is_built_anew(
    nets: Nets, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
):
    cache = tmp_path_factory.getbasetemp() / "engines"
    weights = nets.path("classify.pt")
    engine, _ = export_cache.exported(weights, TENSORRT, cache, kind=export_cache.TENSORRT)
    data = engine.read_bytes()
    length = 4 + int.from_bytes(data[:4], "little")
    engine.write_bytes(data[:length] + b"built by another version" * 100)
    backend = auto.load(weights, TENSORRT, "fast", cache)
    assert backend.runtime == "tensorrt"
    assert "damaged" in caplog.text
    backend.close()


@tensorrt
def test_where_no_engine_can_be_built_torch_serves(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def failing(*_arguments: object) -> None:
        raise ModelInvalid("TensorRT could not build an engine of the model")

    monkeypatch.setattr(export_cache, "_run", failing)
    backend = auto.load(nets.path("classify.pt"), TENSORRT, "fast", tmp_path)
    assert (backend.runtime, backend.precision) == ("torch", "fast")
    assert "torch serves it" in caplog.text
    backend.close()


def test_the_gpu_decodes_h264():
    av = pytest.importorskip("av")
    from av.codec.hwaccel import HWAccel

    clip = Path(__file__).parent.parent.parent / "demo" / "clips" / "dusk-visit.mp4"

    def first(count: int, **more: object) -> list[np.ndarray]:
        with av.open(str(clip), **more) as container:
            frames = container.decode(video=0)
            return [next(frames).to_ndarray(format="bgr24") for _ in range(count)]

    try:
        found = first(20, hwaccel=HWAccel("cuda", allow_software_fallback=False))
    except (av.error.FFmpegError, NotImplementedError, RuntimeError) as error:
        pytest.skip(f"the driver offers no decoder here (libnvcuvid, capability video): {error}")
    for one, other in zip(found, first(20), strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).mean() < 2
