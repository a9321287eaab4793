"""What an `.onnx` must bring along, and what it may not do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime import auto
from siwatsystem.runtime.onnx import read_metadata
from tests.nets import Nets

SETTINGS = RuntimeSettings(device="cpu", trial=False)


def changed(
    nets: Nets, folder: Path, change: Callable[[Any], None], name: str = "classify-static.onnx"
) -> Path:
    model = onnx.load(nets.path(name))
    change(model)
    path = folder / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def without(key: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        kept = [item for item in model.metadata_props if item.key != key]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)

    return change


def setting(key: str, value: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        without(key)(model)
        model.metadata_props.add(key=key, value=value)

    return change


@pytest.mark.parametrize("key", ["names", "task"])
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_without_names_or_task_is_invalid(nets: Nets, tmp_path: Path, key: str, backend: str):
    path = changed(nets, tmp_path, without(key))
    with pytest.raises(ModelInvalid, match=f"lacks {key}"):
        auto.load(path, SETTINGS.model_copy(update={"backend": backend}), "exact", tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("task", "segment", "task is 'segment'"),
        ("names", "{0: 'only one'}", "does not fit"),
        ("names", "{1: 'a', 2: 'b', 3: 'c', 4: 'd'}", "not numbered from 0"),
        ("names", "__import__('os').system('true')", "no class names"),
        ("channels", "4", "4 channels"),
    ],
)
def test_metadata_that_makes_no_sense_is_invalid(nets: Nets, tmp_path: Path, key: str, value: str, said: str):
    with pytest.raises(ModelInvalid, match=said):
        read_metadata(changed(nets, tmp_path, setting(key, value)))


def test_shapes_that_make_no_sense_are_invalid(nets: Nets, tmp_path: Path):
    def grey(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1

    with pytest.raises(ModelInvalid, match=r"\[1, 1, 64, 64\]"):
        read_metadata(changed(nets, tmp_path, grey))


def external(tensor: Any) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def in_the_graph(model: Any) -> None:
    external(model.graph.initializer[0])


def in_a_branch(model: Any) -> None:
    inner = helper.make_graph([], "inner", [], [], [helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])])
    external(inner.initializer[0])
    model.graph.node.add(op_type="If").attribute.append(helper.make_attribute("then_branch", inner))


def in_an_attribute(model: Any) -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    external(tensor)
    model.graph.node.add(op_type="Constant").attribute.append(helper.make_attribute("value", tensor))


@pytest.mark.parametrize("where", [in_the_graph, in_a_branch, in_an_attribute])
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_weights_in_other_files_are_refused(nets: Nets, tmp_path: Path, where: Any, backend: str):
    path = changed(nets, tmp_path, where)
    with pytest.raises(ModelRefused, match="other files"):
        auto.load(path, SETTINGS.model_copy(update={"backend": backend}), "exact", tmp_path)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x07" * 50], ids=["empty", "text", "noise"])
def test_what_is_no_model_is_invalid(tmp_path: Path, data: bytes):
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelInvalid):
        auto.load(path, SETTINGS, "exact", tmp_path)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_an_unknown_operation_is_invalid(nets: Nets, tmp_path: Path, backend: str):
    def change(model: Any) -> None:
        model.graph.node[3].op_type = "NoSuchOperation"

    path = changed(nets, tmp_path, change)
    with pytest.raises(ModelInvalid, match="cannot load it"):
        auto.load(path, SETTINGS.model_copy(update={"backend": backend}), "exact", tmp_path)


def test_there_is_no_fast_variant(nets: Nets, tmp_path: Path):
    assert not auto.supports_fast(SETTINGS, nets.path("classify-static.onnx"))
    with pytest.raises(ModelInvalid, match="no faster precision"):
        auto.load(nets.path("classify-static.onnx"), SETTINGS, "fast", tmp_path)
