"""Which runtime serves which file."""

import json
from pathlib import Path

import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import InvalidSetting, ModelInvalid
from siwatsystem.runtime import auto, devices, processor
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.export_cache import exported
from tests.nets import LEAST, Nets

CPU = RuntimeSettings(device="cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_devices", lambda: 0)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("a.pt", "openvino"),
        ("a.onnx", "onnx"),
        ("a.xml", "openvino"),
        ("a.engine", "tensorrt"),
        ("A.PT", "openvino"),
    ],
)
def test_on_a_processor(name: str, runtime: str):
    assert auto.choose(Path(name), CPU) == runtime


@pytest.mark.usefixtures("gpu")
def test_with_a_gpu():
    assert auto.choose(Path("a.pt"), RuntimeSettings()) == "torch"
    assert auto.choose(Path("a.pt"), RuntimeSettings(backend="openvino")) == "openvino"
    assert auto.choose(Path("a.pt"), CPU) == "openvino"
    assert auto.supports_fast(RuntimeSettings())


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_demanded_but_not_there_is_told():
    assert auto.choose(Path("a.pt"), RuntimeSettings()) == "openvino"
    with pytest.raises(InvalidSetting, match=r"runtime.device = 'cuda'"):
        auto.choose(Path("a.pt"), RuntimeSettings(device="cuda"))


def test_a_setting_goes_where_it_can():
    assert auto.choose(Path("a.pt"), RuntimeSettings(device="cpu", backend="torch")) == "torch"
    assert auto.choose(Path("a.onnx"), RuntimeSettings(device="cpu", backend="openvino")) == "openvino"
    assert auto.choose(Path("a.onnx"), RuntimeSettings(device="cpu", backend="torch")) == "onnx"


def test_other_files_are_invalid(tmp_path: Path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"x")
    with pytest.raises(ModelInvalid, match=r"\.pt, \.onnx"):
        auto.load(file, CPU, "exact", tmp_path)
    with pytest.raises(FileNotFoundError):
        auto.load(tmp_path / "absent.pt", CPU, "exact", tmp_path)


def test_a_processor_without_bf16_has_no_fast_variant(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auto, "has_bf16", lambda: False)
    assert not auto.supports_fast(CPU)
    assert not auto.supports_fast(RuntimeSettings(device="cpu", backend="torch"))


def test_precision_is_named_and_kept(nets: Nets, tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.getbasetemp() / "exported"
    exact = auto.load(nets.path("classify.pt"), CPU, "exact", cache)
    hint = {size: net.get_property("INFERENCE_PRECISION_HINT") for size, net in exact._compiled.items()}
    assert {value.to_string() for value in hint.values()} == {"f32"}
    exact.close()
    if not processor.has_bf16():
        with pytest.raises(ModelInvalid, match="no faster precision"):
            auto.load(nets.path("classify.pt"), CPU, "fast", cache)
        return
    fast = auto.load(nets.path("classify.pt"), CPU, "fast", cache)
    assert fast.precision == "fast"
    hint = {size: net.get_property("INFERENCE_PRECISION_HINT") for size, net in fast._compiled.items()}
    assert {value.to_string() for value in hint.values()} == {"bf16"}
    fast.close()


def test_openvino_folders_are_served_as_they_are(nets: Nets, tmp_path: Path):
    xml, _ = exported(nets.path("classify.pt"), CPU, tmp_path)
    for path in (xml, xml.parent):
        backend = auto.load(path, CPU, "exact", tmp_path)
        prediction = backend.infer([Picture(nets.pictures("classify.pt")[0], LEAST)])[0]
        assert prediction.probabilities == pytest.approx(nets.reference["classify.pt"][0], abs=1e-3)
        backend.close()
    (xml.parent / "metadata.json").unlink()
    with pytest.raises(ModelInvalid, match="metadata"):
        auto.load(xml.parent, CPU, "exact", tmp_path)
    names = {0: "Aster", 1: "Borel", 2: "Corvano", 3: "Dynex"}
    values = {"task": "classify", "names": names, "imgsz": [64, 64], "stride": 32, "args": {"dynamic": True}}
    (xml.parent / "metadata.yaml").write_text(json.dumps(values).replace('"', ""))
    backend = auto.load(xml.parent, CPU, "exact", tmp_path)
    assert backend.names == names
    backend.close()
    xml.with_suffix(".bin").unlink()
    with pytest.raises(ModelInvalid, match="missing"):
        auto.load(xml.parent, CPU, "exact", tmp_path)


def test_an_engine_says_what_it_needs(tmp_path: Path):
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"not an engine")
    with pytest.raises(ModelInvalid, match="no engine"):
        auto.load(engine, CPU, "exact", tmp_path)
    header = json.dumps({"task": "detect", "names": {"0": "Car"}, "imgsz": [640, 640], "batch": 1}).encode()
    engine.write_bytes(len(header).to_bytes(4, "little") + header + b"engine")
    with pytest.raises(ModelInvalid, match="needs tensorrt"):
        auto.load(engine, CPU, "exact", tmp_path)


@pytest.mark.parametrize("wrong", [{"device": "cuda"}, {"backend": "tensorrt"}])
def test_what_is_demanded_and_not_here_is_refused_before_anything_is_loaded(wrong: dict[str, str]):
    if auto.use_cuda(RuntimeSettings()):
        pytest.skip("there is a GPU")
    with pytest.raises(InvalidSetting, match=r"runtime\.(device|backend)"):
        auto.check(RuntimeSettings(**wrong))  # type: ignore[arg-type]
    auto.check(RuntimeSettings())
