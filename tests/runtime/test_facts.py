from pathlib import Path

import pytest

from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime.facts import read_facts
from tests.nets import Nets, nets

__all__ = ["nets"]


@pytest.mark.parametrize("name", ["detect.pt", "detect-dynamic.onnx", "classify.pt", "classify-static.onnx"])
def test_weights_and_exports_say_the_same(nets: Nets, name: str) -> None:
    facts = read_facts(nets.path(name))
    if name.startswith("detect"):
        assert (facts.task, facts.input_size) == ("detect", (320, 320))
        assert facts.names == {0: "Car", 1: "Frontal", 2: "Plate"}
    else:
        assert (facts.task, facts.input_size) == ("classify", (64, 64))
        assert list(facts.names.values()) == ["Aster", "Borel", "Corvano", "Dynex"]


def test_an_engine_is_read_without_a_gpu(tmp_path: Path) -> None:
    header = b'{"task": "detect", "names": {"0": "Car"}, "imgsz": [320, 640]}'
    path = tmp_path / "net.engine"
    path.write_bytes(len(header).to_bytes(4, "little") + header + b"engine")
    assert read_facts(path).input_size == (320, 640)


@pytest.mark.parametrize("name", ["a.pt", "a.onnx", "a.engine", "a.xml", "a.txt"])
@pytest.mark.parametrize("junk", [b"junk", b"junk" * 9, b"", b"j\n", b"PK\3\4", b"\x8a\xff\xff\xff"])
def test_what_is_no_model_is_told_and_nothing_else_raised(tmp_path: Path, name: str, junk: bytes) -> None:
    with pytest.raises(FileNotFoundError):
        read_facts(tmp_path / name)
    (tmp_path / name).write_bytes(junk)
    with pytest.raises((ModelInvalid, ModelRefused)):
        read_facts(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelInvalid, match="0 OpenVINO models"):
        read_facts(tmp_path / "folder")
