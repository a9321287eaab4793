"""Pictures prepared side by side, as for a GPU, through a network on the processor."""

import threading

import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.batcher import Batcher
from siwatsystem.runtime.gpu_groups import SideBySide
from siwatsystem.runtime.task import task_of
from siwatsystem.runtime.torch import TorchBackend
from tests.nets import LEAST, Nets
from tests.runtime.test_exactness import agree

pytestmark = pytest.mark.filterwarnings("default")
SETTINGS = RuntimeSettings(device="cpu", backend="torch")


@pytest.mark.parametrize("name", ["detect.pt", "classify.pt"])
def test_many_sizes_keep_their_order_and_no_call_is_too_large(nets: Nets, name: str):
    backend = TorchBackend(nets.path(name), SETTINGS)
    calls: list[tuple[int, set[tuple[int, ...]]]] = []

    def forward(pictures, least):
        calls.append((len(pictures), {picture.shape for picture in pictures}))
        return backend.forward(pictures, least)

    hands = SideBySide("test", 4)
    images = [Picture(image, LEAST) for image in nets.pictures(name)] * 2
    found = hands.infer(task_of(backend.metadata), images, forward, 2)
    for prediction, rows in zip(found, nets.reference[name] * 2, strict=True):
        agree(prediction, rows)
    assert all(count <= 2 and len(shapes) == 1 for count, shapes in calls)
    assert sum(count for count, _ in calls) == len(images)
    assert any(count == 2 for count, _ in calls)
    hands.close()
    backend.close()


def test_a_picture_that_cannot_be_prepared_fails_alone(nets: Nets):
    """As on a GPU: the batch of many callers is tried one by one."""
    backend = TorchBackend(nets.path("classify.pt"), SETTINGS)
    backend.batch_size = 16
    backend._hands = SideBySide("test", 4)
    batcher = Batcher(backend, 0.2, "side-by-side")
    images = nets.pictures("classify.pt")
    broken, failed = images[0][:0], []

    def ask(index: int) -> None:
        try:
            if index == 3:
                with pytest.raises(Exception, match=r"\S"):
                    batcher.predict(broken, LEAST)
                return
            which = index % len(images)
            agree(batcher.predict(images[which], LEAST), nets.reference["classify.pt"][which])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    batcher.close()
    assert failed == []
