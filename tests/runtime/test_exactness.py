"""Every runtime says what ultralytics' own `predict` says on the same weights."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Classification, Prediction, Xyxy, iou
from siwatsystem.runtime import auto
from siwatsystem.runtime.backend import Backend, Picture
from siwatsystem.runtime.openvino import UNDERWAY, OpenVINOBackend
from tests.nets import LEAST, Nets, demo_weights
from tests.servers import until

# torch and ultralytics warn about their own deprecations.
pytestmark = pytest.mark.filterwarnings("default")

TRAINED = [f"demo-{name}" for name in sorted(demo_weights())]
SERVED = [
    *(
        (name, backend)
        for name in ("detect.pt", "classify.pt", *TRAINED)
        for backend in ("openvino", "torch")
    ),
    *(
        (f"{name}-{kind}.onnx", backend)
        for name in ("detect", "classify")
        for kind in ("dynamic", "static")
        for backend in ("onnx", "openvino")
    ),
]


def close(box: Xyxy, other: Xyxy) -> float:
    """IoU; 1 for the same box of which clipping to the picture has left nothing that could overlap."""
    flat = min(box[2] - box[0], box[3] - box[1]) < 1
    return 1.0 if flat and box == pytest.approx(tuple(other), abs=1) else iou(box, tuple(other))


def agree(prediction: Prediction, expected: Any) -> int:
    """How many boxes or labels were compared, all of which agree."""
    if isinstance(prediction, Classification):
        assert prediction.class_name == max(expected, key=expected.get)
        assert prediction.confidence == max(prediction.probabilities.values())
        assert prediction.probabilities == pytest.approx(expected, abs=1e-3)
        return 1
    # Boxes of all but the same confidence may come in another order.
    left = list(prediction)
    for label, confidence, corners in expected:
        box = max((one for one in left if one.class_name == label), key=lambda one: close(one.xyxy, corners))
        left.remove(box)
        assert box.confidence == pytest.approx(confidence, abs=1e-3)
        assert close(box.xyxy, corners) >= 0.99
    assert not left
    return len(expected)


def check(backend: Backend, nets: Nets, name: str) -> int:
    pictures = [Picture(image, LEAST) for image in nets.pictures(name)]
    predictions = [backend.infer([picture])[0] for picture in pictures]
    return sum(map(agree, predictions, nets.reference[name]))


@pytest.mark.parametrize(("name", "runtime"), SERVED)
def test_agrees_with_the_reference(
    nets: Nets, tmp_path_factory: pytest.TempPathFactory, name: str, runtime: str
):
    cache = tmp_path_factory.getbasetemp() / "exported"
    settings = RuntimeSettings(device="cpu", backend=runtime)
    backend = auto.load(nets.path(name), settings, "exact", cache)
    assert (backend.runtime, backend.precision) == (runtime, "exact")
    assert check(backend, nets, name) >= len(nets.reference[name]) // 2
    backend.close()


def test_a_batch_of_different_sizes_gives_each_picture_its_own(nets: Nets, tmp_path: Path):
    backend = auto.load(
        nets.path("detect.pt"), RuntimeSettings(device="cpu", backend="torch"), "exact", tmp_path
    )
    pictures = [Picture(image, LEAST) for image in nets.pictures("detect.pt")]
    together = backend.infer([*pictures, *pictures])
    expected = nets.reference["detect.pt"]
    for prediction, rows in zip(together, [*expected, *expected], strict=True):
        agree(prediction, rows)
    backend.close()


def test_more_sizes_than_are_compiled_still_agree(nets: Nets, tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.getbasetemp() / "exported"
    settings = RuntimeSettings(device="cpu", backend="openvino")
    backend = auto.load(nets.path("detect.pt"), settings, "exact", cache)
    for _ in range(2):
        assert check(backend, nets, "detect.pt") > 0
    backend.close()


def test_calls_that_share_the_processor_still_agree(nets: Nets, tmp_path_factory: pytest.TempPathFactory):
    settings = RuntimeSettings(device="cpu", backend="openvino", threads=2)
    backend = auto.load(
        nets.path("detect.pt"), settings, "exact", tmp_path_factory.getbasetemp() / "exported"
    )
    assert isinstance(backend, OpenVINOBackend)
    assert check(backend, nets, "detect.pt") > 0
    assert backend.shares == {1}
    with UNDERWAY.call():
        assert check(backend, nets, "detect.pt") > 0, "served by what there is meanwhile"
        until(lambda: backend.shares == {1, 2})
        assert check(backend, nets, "detect.pt") > 0
    backend.close()


def test_where_a_network_cannot_be_divided_it_serves_all_calls_undivided(nets: Nets, tmp_path: Path):
    kept = shutil.copy(nets.path("detect-static.onnx"), tmp_path)
    settings = RuntimeSettings(device="cpu", backend="openvino", threads=2)
    backend = auto.load(Path(kept), settings, "exact", tmp_path)
    assert isinstance(backend, OpenVINOBackend)
    Path(kept).unlink()
    with UNDERWAY.call():
        for _ in range(2):
            assert check(backend, nets, "detect-static.onnx") > 0
    until(lambda: not any(thread.name == "divide" for thread in threading.enumerate()))
    assert backend.shares == {1}
    backend.close()
