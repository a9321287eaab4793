import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from siwatsystem import archive
from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.archives import Archives
from siwatsystem.config import RuntimeSettings, Settings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.pipeline.problems import PipelineInvalid
from siwatsystem.signatures import sign
from siwatsystem.signing_keys import PrivateKey
from tests.nets import Nets, nets  # noqa: F401


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[Archives]:
    opened = Archives(Settings(data_dir=tmp_path / "data", runtime=RuntimeSettings(backend="onnx")))
    yield opened
    opened.close()


def unpacked(tmp_path: Path, name: str = "*") -> list[Path]:
    """What lies in the folders of pipelines that are open."""
    return sorted((tmp_path / "data" / "models" / ".run").glob(f"open-*/content/{name}"))


def packed(tmp_path: Path, weights: Path, key: PrivateKey | None = None, least: float = 0.5) -> Path:
    """An archive of one node."""
    folder = tmp_path / "source"
    folder.mkdir()
    node = {"modelId": "root", "modelFile": "best.onnx", "minConfidence": least, "triggerClasses": ["Car"]}
    (folder / archive.PIPELINE).write_text(json.dumps({"pipeline": node}))
    (folder / "best.onnx").write_bytes(weights.read_bytes())
    if key is not None:
        sign(folder, archive.files_of(folder), key)
    path = tmp_path / "cars.mpta"
    with zipfile.ZipFile(path, "w") as target:
        for name in archive.files_of(folder):
            target.write(folder / name, name)
    return path


def test_weights_of_the_same_content_are_each_their_own(tmp_path, archives: Archives, nets: Nets):  # noqa: F811
    first, second = tmp_path / "a" / "best.onnx", tmp_path / "b" / "best.onnx"
    for path in (first, second):
        path.parent.mkdir()
        path.write_bytes(nets.path("detect-dynamic.onnx").read_bytes())
    with archives.opened(first, Actions()) as pipeline:
        (copy,) = unpacked(tmp_path)
        assert "Car" in pipeline.models["best"].names.values()
        # A training writes while the pipeline is open, and what is open stays what it was.
        first.write_bytes(nets.path("classify-dynamic.onnx").read_bytes())
        assert copy.read_bytes() == second.read_bytes()
    assert unpacked(tmp_path) == []
    with archives.opened(second, Actions()) as pipeline:
        assert "Car" in pipeline.models["best"].names.values()
    with archives.opened(first, Actions()) as pipeline:
        assert "Aster" in pipeline.models["best"].names.values()
    moved = first.rename(first.with_name("moved.onnx"))
    with archives.opened(moved, Actions()) as pipeline:
        assert list(pipeline.models) == ["moved"]


def test_classes_of_weights_are_chosen(tmp_path, archives: Archives, nets: Nets):  # noqa: F811
    path = nets.path("detect-dynamic.onnx")
    with archives.opened(path, Actions(), ["Car"]) as pipeline:
        assert pipeline.spec.pipeline.trigger_classes == ("Car",)
    with (
        pytest.raises(ModelInvalid, match=r"^detect-dynamic\.onnx: .*Lorry"),
        archives.opened(path, Actions(), ["Lorry"]),
    ):
        pass
    assert unpacked(tmp_path) == []


def test_nothing_is_run_that_somebody_changed_since_it_was_unpacked(tmp_path, nets: Nets):  # noqa: F811
    key = PrivateKey.new()
    path = packed(tmp_path, nets.path("detect-dynamic.onnx"), key)
    settings = Settings(data_dir=tmp_path / "data", runtime=RuntimeSettings(backend="onnx"))
    archives = Archives(settings)
    with archives.opened(path, Actions()) as pipeline:
        assert pipeline.spec.pipeline.min_confidence == 0.5
        spec = next(iter(unpacked(tmp_path, archive.PIPELINE)))
        spec.write_text(spec.read_text().replace("0.5", "0.1"))
        with archives.opened(path, Actions()) as again:
            assert again.spec.pipeline.min_confidence == 0.5
    archives.close()
    assert unpacked(tmp_path) == []


def test_what_cannot_be_opened_leaves_nothing(tmp_path, archives: Archives, nets: Nets):  # noqa: F811
    path = packed(tmp_path, nets.path("detect-dynamic.onnx"), least=2)
    with pytest.raises(PipelineInvalid), archives.opened(path, Actions()):
        pass
    with (
        pytest.raises(ModelInvalid, match="no such file or folder"),
        archives.opened(tmp_path / "gone.mpta", Actions()),
    ):
        pass
    with (
        pytest.raises(ModelInvalid, match="classes are chosen of bare weights"),
        archives.opened(path, Actions(), ["Car"]),
    ):
        pass
    broken = tmp_path / "broken.mpta"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(broken, "w") as target:
        target.writestr("../out.txt", b"")
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ModelRefused), archives.opened(broken, Actions()):
        pass
    assert unpacked(tmp_path) == []


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path, nets: Nets):  # noqa: F811
    (tmp_path / "data").write_text("")
    archives = Archives(Settings(data_dir=tmp_path / "data"))
    with (
        pytest.raises(OSError, match="Not a directory"),
        archives.opened(nets.path("detect-dynamic.onnx"), Actions()),
    ):
        pass
    archives.close()
