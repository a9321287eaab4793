"""Appearance features: the same on every runtime as computed by hand, and what is no encoder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.frames import Image
from siwatsystem.runtime import auto, export_cache
from siwatsystem.runtime.encoder import IMAGENET_MEAN, IMAGENET_STD, stretched, unit_rows
from siwatsystem.runtime.openvino_encoder import MOST_AT_ONCE
from tests.nets import Nets

ONNX = RuntimeSettings(device="cpu", backend="onnx")
OPENVINO = RuntimeSettings(device="cpu", backend="openvino")
TORCH = RuntimeSettings(device="cpu", backend="torch")
SERVED = [
    ("classify.pt", TORCH),
    ("classify.pt", OPENVINO),
    ("folder", OPENVINO),
    ("classify-static.onnx", ONNX),
    ("classify-dynamic.onnx", ONNX),
    ("classify-static.onnx", OPENVINO),
    ("classify-dynamic.onnx", OPENVINO),
]


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "exported"


def by_hand(weights: Path, pictures: Sequence[Image]) -> np.ndarray:
    """What the network's layers give one after the other, up to the last linear one."""
    import torch
    from PIL import Image as Pillow
    from torchvision.transforms import Resize

    from siwatsystem.runtime.weights import load_checkpoint

    network, metadata = load_checkpoint(weights)
    resize = Resize(metadata.input_size)
    small = [np.asarray(resize(Pillow.fromarray(picture[..., ::-1]))) for picture in pictures]
    with torch.inference_mode():
        values = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255
        for layer in network.model[:-1]:
            values = layer(values)
        head = network.model[-1]
        return unit_rows(head.pool(head.conv(values)).flatten(1).numpy())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "settings"), SERVED, ids=lambda value: getattr(value, "backend", value))
def test_features_are_the_input_of_the_last_linear_layer(
    nets: Nets, cache: Path, name: str, settings: RuntimeSettings
):
    weights, pictures = nets.path("classify.pt"), nets.pictures("classify.pt")
    path = nets.path(name)
    if name == "folder":
        path = export_cache.exported(weights, settings, cache)[0].parent
    encoder = auto.load_encoder(path, settings, "exact", cache)
    assert (encoder.runtime, encoder.precision, encoder.input.size) == (settings.backend, "exact", (64, 64))
    rows = unit_rows(encoder.features(stretched(pictures, encoder.input.size)))
    encoder.close()
    expected = by_hand(weights, pictures)
    assert rows.shape == (len(pictures), 1280)
    likeness = rows @ expected.T
    assert likeness.diagonal().min() >= 0.9999
    # Pictures are told apart, so that any other row would not do.
    assert likeness[~np.eye(len(pictures), dtype=bool)].max() < 0.999


def unchanged(_: Any) -> None:
    pass


def tiny(folder: Path, change: Callable[[Any], None] = unchanged, **metadata: str) -> Path:
    """An encoder in ONNX whose three features are the means of the normalised planes."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["picture"], ["means"]),
            helper.make_node("Flatten", ["means"], ["features"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, 32, 16])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    change(model)
    path = folder / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("metadata", "mean", "std"),
    [
        ({}, IMAGENET_MEAN, IMAGENET_STD),
        ({"mean": "[0.5, 0.4, 0.3]", "std": "[0.5, 0.25, 0.1]"}, (0.5, 0.4, 0.3), (0.5, 0.25, 0.1)),
        ({"author": "Ultralytics"}, (0, 0, 0), (1, 1, 1)),
        ({"task": "reid"}, (0, 0, 0), (1, 1, 1)),
    ],
    ids=["imagenet", "named", "author", "task"],
)
@pytest.mark.parametrize("settings", [ONNX, OPENVINO], ids=lambda settings: settings.backend)
def test_an_encoder_of_its_own_is_normalised_as_stated(
    tmp_path: Path, settings: RuntimeSettings, metadata: dict[str, str], mean: Any, std: Any
):
    encoder = auto.load_encoder(tiny(tmp_path, unchanged, **metadata), settings, "exact", tmp_path)
    assert encoder.input.size == (32, 16)
    blue_green_red = np.full((5, 9, 3), (10, 100, 200), np.uint8)
    row = encoder.features(stretched([blue_green_red], encoder.input.size))[0]
    encoder.close()
    expected = (np.array([200, 100, 10]) / 255 - mean) / std
    assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("settings", [ONNX, OPENVINO], ids=lambda settings: settings.backend)
def test_more_pictures_than_one_call_takes_each_get_their_row(tmp_path: Path, settings: RuntimeSettings):
    encoder = auto.load_encoder(tiny(tmp_path, task="reid"), settings, "exact", tmp_path)
    reds = np.arange(MOST_AT_ONCE * 2 + 3)
    batch = np.zeros((len(reds), *encoder.input.size, 3), np.uint8)
    batch[..., 2] = reds[:, None, None]
    assert encoder.features(batch)[:, 0] * 255 == pytest.approx(reds, abs=1e-3)
    encoder.close()


def open_size(model: Any) -> None:
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = "open"


def test_an_open_input_size_is_that_of_the_metadata(tmp_path: Path):
    encoder = auto.load_encoder(tiny(tmp_path, open_size, imgsz="[48, 24]"), ONNX, "exact", tmp_path)
    assert encoder.input.size == (48, 24)
    assert encoder.features(np.zeros((2, 48, 24, 3), np.uint8)).shape == (2, 3)
    encoder.close()


def four_sided(model: Any) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("means", TensorProto.FLOAT, [1, 3, 1, 1]))


def second_output(model: Any) -> None:
    model.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", 3, 1, 1]))


def grey(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


@pytest.mark.parametrize(
    ("change", "metadata", "said"),
    [
        (four_sided, {}, "rows of features"),
        (second_output, {}, "one output"),
        (open_size, {}, "names none"),
        (grey, {}, "no 1×3×H×W picture"),
        (unchanged, {"mean": "[1, 2]"}, "not one number per channel"),
        (unchanged, {"mean": "red"}, "not one number per channel"),
        (unchanged, {"std": "[1, 0, 1]"}, "deviation of 0"),
        (open_size, {"imgsz": "[48, 100000]"}, "not a height and a width"),
    ],
)
@pytest.mark.parametrize("settings", [ONNX, OPENVINO], ids=lambda settings: settings.backend)
def test_what_is_no_encoder_is_invalid(
    tmp_path: Path, settings: RuntimeSettings, change: Any, metadata: dict[str, str], said: str
):
    with pytest.raises(ModelInvalid, match=said):
        auto.load_encoder(tiny(tmp_path, change, **metadata), settings, "exact", tmp_path)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("detect.pt", TORCH), ("detect.pt", OPENVINO), ("detect-static.onnx", ONNX)],
    ids=["torch", "openvino", "onnx"],
)
def test_a_detection_model_is_no_encoder(
    nets: Nets, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: RuntimeSettings
):
    def fail(xml: Path) -> None:
        raise AssertionError(f"{xml} is whole and was discarded")

    monkeypatch.setattr(export_cache, "discard", fail)
    with pytest.raises(ModelInvalid, match="a detect model has no features"):
        auto.load_encoder(nets.path(name), settings, "exact", cache)


@pytest.mark.parametrize("settings", [ONNX, OPENVINO], ids=lambda settings: settings.backend)
def test_a_classification_network_must_end_in_a_linear_layer(
    nets: Nets, tmp_path: Path, settings: RuntimeSettings
):
    model = onnx.load(nets.path("classify-static.onnx"))
    last = model.graph.output[0].name
    node = next(node for node in model.graph.node if last in node.output)
    node.output[0] = "before"
    model.graph.node.append(helper.make_node("Abs", ["before"], [last]))
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelInvalid, match="ends in Abs"):
        auto.load_encoder(path, settings, "exact", tmp_path)


@pytest.mark.parametrize("settings", [ONNX, OPENVINO], ids=lambda settings: settings.backend)
def test_weights_in_other_files_are_refused(tmp_path: Path, settings: RuntimeSettings):
    def external(model: Any) -> None:
        tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")

    with pytest.raises(ModelRefused, match="other files"):
        auto.load_encoder(tiny(tmp_path, external), settings, "exact", tmp_path)


def test_files_that_cannot_serve(tmp_path: Path):
    engine = tmp_path / "one.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(ModelInvalid, match="an engine gives no features"):
        auto.load_encoder(engine, ONNX, "exact", tmp_path)
    with pytest.raises(FileNotFoundError, match="no such model file"):
        auto.load_encoder(tmp_path / "absent.pt", ONNX, "exact", tmp_path)
    with pytest.raises(ModelInvalid, match="no faster precision"):
        auto.load_encoder(tiny(tmp_path), ONNX, "fast", tmp_path)


def test_crops_are_stretched_whatever_their_shape():
    wide = np.zeros((10, 90, 3), np.uint8)
    wide[:, 45:] = 255
    batch = stretched([wide, wide[::2, ::3], wide[:1, :1]], (16, 16))
    assert batch.shape == (3, 16, 16, 3)
    assert batch[0, :, :6].max() < 10
    assert batch[0, :, 10:].min() > 245
    assert batch[2].max() == 0
    with pytest.raises(ValueError, match="no picture"):
        stretched([wide[..., 0]], (16, 16))
    with pytest.raises(ValueError, match="no picture"):
        stretched([wide[:0]], (16, 16))


def test_rows_have_length_one():
    rows = unit_rows(np.array([[3, 4], [0, 0], [1e-30, 0], [1e30, 1e30]], np.float32))
    assert rows.tolist() == [pytest.approx(row) for row in ([0.6, 0.8], [0, 0], [1, 0], [0.5**0.5] * 2)]
    assert rows.dtype == np.float32
    with pytest.raises(RuntimeError, match="not finite"):
        unit_rows(np.array([[1, np.nan]], np.float32))
