"""The way to a TensorRT engine as far as it goes without a GPU: the ONNX model, the shapes, the header,
and the process that would build it."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import auto, devices, engine_build, export_cache, torch
from siwatsystem.runtime.engine_header import ENGINE_BATCH, header, read_header, read_metadata
from siwatsystem.runtime.gate import compare
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.task import task_of
from siwatsystem.runtime.weights import load_checkpoint
from tests.nets import Nets, demo_weights

library = pytest.importorskip("torch")
TRAINED = [f"demo-{name}" for name in sorted(demo_weights())]
pytestmark = pytest.mark.filterwarnings("default")

DETECT = Metadata("detect", {0: "Car", 1: "Frontal"}, (640, 640))
CLASSIFY = Metadata("classify", {0: "a"}, (224, 224))
SETTINGS = RuntimeSettings(device="cpu")


def test_an_engine_takes_every_size_that_letterboxing_gives():
    assert engine_build.shapes(DETECT) == ((1, 3, 32, 32), (16, 3, 384, 640), (16, 3, 640, 640))
    assert engine_build.shapes(CLASSIFY) == ((1, 3, 224, 224), (16, 3, 224, 224), (16, 3, 224, 224))


@pytest.mark.parametrize("name", TRAINED)
def test_the_model_that_an_engine_is_built_of_says_the_same_in_half_precision(
    nets: Nets, tmp_path: Path, name: str
):
    _, metadata = load_checkpoint(nets.path(name))
    onnx = engine_build.half_onnx(nets.path(name), tmp_path, metadata)
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    exact = torch.TorchBackend(nets.path(name), SETTINGS)
    task = task_of(metadata)
    prepared = [task.prepare(image) for image in nets.pictures(name)]
    # Scenes and crops of them: a batch of each size, as an engine is given them.
    for size in {tensor.shape for tensor, _ in prepared}:
        batch = [one for one in prepared if one[0].shape == size]
        pictures = exact.prepare(library.from_numpy(np.stack([tensor for tensor, _ in batch])))
        (found,) = session.run(None, {given.name: pictures.numpy()})
        wanted = exact.forward([tensor for tensor, _ in batch], 0.2)
        both = [
            [task.finish(raw, box, 0.2) for raw, (_, box) in zip(raws, batch, strict=True)]
            for raws in (wanted, list(found))
        ]
        assert compare(*both, 0.25).passed
    exact.close()


def test_the_header_is_read_back(tmp_path: Path):
    path = tmp_path / "model.engine"
    path.write_bytes(header(DETECT) + b"the engine")
    values, start = read_header(path)
    assert path.read_bytes()[start:] == b"the engine"
    assert (values["batch"], values["args"]) == (ENGINE_BATCH, {"dynamic": True})
    assert read_metadata(path) == DETECT


def program(folder: Path, text: str) -> str:
    """An executable that stands in for Python in the exporting process."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def weights(folder: Path) -> Path:
    path = folder / "weights.pt"
    path.write_bytes(b"anything")
    return path


def test_a_kept_engine_depends_on_the_gpu_and_is_installed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = tmp_path / "seen.json"
    text = f"""
import json, os, pathlib, sys
weights, folder, memory_mb, kind = sys.argv[-5:-1]
pathlib.Path({str(seen)!r}).write_text(json.dumps([memory_mb, kind, dict(os.environ)]))
folder = pathlib.Path(folder)
(folder / "model.engine").write_bytes(b"engine")
(folder / "metadata.json").write_text({DETECT.to_json()!r})
(folder / "result.json").write_text("{{}}")
"""
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SIWAT_CONTROL_TOKEN", "the-secret")
    found: list[Path] = []
    for gpu in ("NVIDIA H200 9.0", "NVIDIA L4 8.9"):
        monkeypatch.setattr(export_cache, "gpu_name", lambda gpu=gpu: gpu)
        export_cache._exporter.cache_clear()
        engine, metadata = export_cache.exported(
            weights(tmp_path), SETTINGS, tmp_path / "cache", kind=export_cache.TENSORRT
        )
        assert (engine.read_bytes(), metadata) == (b"engine", DETECT)
        found.append(engine)
    export_cache._exporter.cache_clear()
    assert found[0].parent != found[1].parent
    memory_mb, kind, environment = json.loads(seen.read_text())
    assert (memory_mb, kind) == ("0", "tensorrt")
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert "SIWAT_CONTROL_TOKEN" not in environment


def test_one_on_the_gpu_that_takes_too_much_memory_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pid = tmp_path / "pid"
    text = f"""
import os, pathlib, time
pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))
held = bytearray(os.urandom(1 << 20)) * 700
time.sleep(300)
"""
    monkeypatch.setattr(sys, "executable", program(tmp_path, text))
    settings = RuntimeSettings(device="cpu", export_memory_mb=512)
    with pytest.raises(ModelInvalid, match="more than 512 MB"):
        export_cache.exported(weights(tmp_path), settings, tmp_path / "cache", kind=export_cache.TENSORRT)
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_one_on_the_gpu_has_a_deadline_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", program(tmp_path, "import time\ntime.sleep(300)\n"))
    settings = RuntimeSettings(device="cpu", export_timeout_sec=300, engine_timeout_sec=1)
    with pytest.raises(ModelInvalid, match="took over 1 s"):
        export_cache.exported(weights(tmp_path), settings, tmp_path / "cache", kind=export_cache.TENSORRT)


@pytest.mark.skipif(devices.has_tensorrt(), reason="TensorRT is installed: test_gpu.py builds an engine")
def test_the_exporting_process_says_that_tensorrt_is_missing(nets: Nets, tmp_path: Path):
    with pytest.raises(ModelInvalid, match=r"No module named 'tensorrt'"):
        export_cache.exported(nets.path("classify.pt"), SETTINGS, tmp_path, kind=export_cache.TENSORRT)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock" and path.name != ".trials"]


def test_tensorrt_is_chosen_on_a_gpu_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    monkeypatch.setattr(auto, "has_tensorrt", lambda: True)
    assert auto.choose(Path("a.pt"), RuntimeSettings()) == "tensorrt"
    assert auto.choose(Path("a.pt"), RuntimeSettings(backend="tensorrt")) == "tensorrt"
    assert auto.choose(Path("a.pt"), RuntimeSettings(backend="torch")) == "torch"
    assert auto.supports_fast(RuntimeSettings())
    assert not auto.supports_fast(RuntimeSettings(), Path("a.engine"))
    monkeypatch.setattr(auto, "has_tensorrt", lambda: False)
    assert auto.choose(Path("a.pt"), RuntimeSettings()) == "torch"
