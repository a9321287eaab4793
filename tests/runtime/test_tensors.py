"""What happens on the device, on a processor: preparation, what leaves it, and batches that are replayed."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from siwatsystem.runtime.metadata import Metadata
from siwatsystem.runtime.postprocess import boxes_of
from siwatsystem.runtime.replays import (
    BATCHES,
    MOST_RECORDINGS,
    RECORDED_AT,
    Compute,
    Recording,
    Replays,
    undisturbed,
)
from siwatsystem.runtime.tensors import Preparation, fetched, padded, surest

torch = pytest.importorskip("torch")
CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(count: int, height: int = 8, width: int = 12, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("normalise", [None, Metadata("classify", {0: "a"}, (8, 12), mean=MEAN, std=STD)])
def test_preparation_is_that_of_the_reference(channels_last: bool, normalise: Metadata | None):
    prepare = Preparation(CPU, half=False, channels_last=channels_last, normalise=normalise)
    batch = np.stack(pictures(3))
    made = prepare(torch.from_numpy(batch))
    wanted = np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)
    if normalise is not None:
        mean, std = (np.array(value, np.float32).reshape(1, 3, 1, 1) for value in (MEAN, STD))
        wanted = (wanted - mean) / std
    np.testing.assert_array_equal(made.numpy(), wanted)
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert made.is_contiguous(memory_format=order)
    half = Preparation(CPU, half=True, channels_last=channels_last, normalise=normalise)
    np.testing.assert_allclose(half(torch.from_numpy(batch)).float().numpy(), wanted, atol=0.01)


def raw_output(anchors_per_picture: list[int], classes: int = 3, anchors: int = 40) -> np.ndarray:
    """Boxes far from each other, of which so many per picture are sure (0.6–0.9), the others are not."""
    rng = np.random.default_rng(1)
    raw = np.zeros((len(anchors_per_picture), 4 + classes, anchors), np.float32)
    raw[:, 0] = np.arange(anchors) * 20 + 10
    raw[:, 1:4] = 8
    raw[:, 4:] = rng.uniform(0, 0.2, raw[:, 4:].shape)
    for picture, count in enumerate(anchors_per_picture):
        for anchor in rng.permutation(anchors)[:count]:
            raw[picture, 4 + rng.integers(classes), anchor] = rng.uniform(0.6, 0.9)
    return raw


# Six sure anchors, because six columns are how rows of finished boxes are known.
@pytest.mark.parametrize("counts", [[0], [6], [3, 0, 6, 1, 40], [0, 0], [5, 7, 6]])
def test_what_leaves_the_device_gives_the_boxes_of_the_whole_output(counts: list[int]):
    raw = raw_output(counts)
    output = torch.from_numpy(raw)
    parts = fetched(output, surest(output), 0.5)
    assert [part.shape[0] for part in parts] == [7] * len(counts)
    for part, whole, count in zip(parts, raw, counts, strict=True):
        boxes = boxes_of(part, 0.5)
        assert len(boxes) == count
        np.testing.assert_array_equal(boxes, boxes_of(whole, 0.5))


def test_half_leaves_the_device_as_float32():
    output = torch.from_numpy(raw_output([4])).half()
    (part,) = fetched(output, surest(output), 0.5)
    assert part.dtype == np.float32
    np.testing.assert_array_equal(boxes_of(part, 0.5), boxes_of(output[0].float().numpy(), 0.5))
    (whole,) = fetched(output, None, 0.5)
    np.testing.assert_array_equal(whole, output[0].float().numpy())


def test_padding_repeats_the_last_picture():
    assert padded([1, 2], 4) == [1, 2, 2, 2]
    assert padded([1, 2], 2) == [1, 2]


class Again:
    """Records a call by computing it again on the same tensors, as a graph does."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, ...]] = []

    def __call__(self, compute: Callable, batch) -> Recording:
        self.keys.append(tuple(batch.shape))
        outputs = tuple(torch.empty_like(output) for output in compute(batch))

        def replay() -> None:
            for kept, made in zip(outputs, compute(batch), strict=True):
                kept.copy_(made)

        return Recording(batch, outputs, replay)


def sums(batch) -> tuple:
    """Depends on every byte of each picture, and on nothing of the others."""
    values = batch.double().flatten(1)
    return values.sum(1), (values * torch.arange(values.shape[1])).sum(1)


def test_replayed_batches_of_every_size_say_the_same_as_the_call_itself():
    recorder = Again()
    replays, plain = Replays(sums, CPU, "net", recorder), Replays(sums, CPU, "net")
    replays.warm_up((8, 12))
    assert recorder.keys == [(batch, 8, 12, 3) for batch in BATCHES]
    for count in (16, 1, 5, 3, 9, 2, 16, 7):
        some = pictures(count, seed=count)
        with replays.busy(), plain.busy():
            for output, wanted in zip(replays(some), plain(some), strict=True):
                assert output.tolist() == wanted.tolist()
    assert replays.recorded == len(BATCHES)
    replays.close()


def test_a_size_is_recorded_once_it_came_often_and_never_beyond_the_limit():
    recorder = Again()
    replays = Replays(sums, CPU, "net", recorder)
    with replays.busy():
        for _ in range(RECORDED_AT - 1):
            replays(pictures(1))
        assert recorder.keys == []
        replays(pictures(1))
        assert recorder.keys == [(1, 8, 12, 3)]
        for width in range(20, 20 + MOST_RECORDINGS + 5):
            for _ in range(RECORDED_AT):
                (total, _) = replays(pictures(1, width=width))
                assert total.tolist() == [float(pictures(1, width=width)[0].sum())]
    assert replays.recorded == MOST_RECORDINGS


def test_a_batch_greater_than_any_recorded_is_computed_as_it_is():
    def recorder(compute: Compute, pictures: Any) -> Recording:
        raise AssertionError("nothing is recorded of it")

    replays = Replays(sums, CPU, "engine of 32", recorder)
    pictures = [np.full((4, 6, 3), value, np.uint8) for value in range(2 * BATCHES[-1])]
    for _ in range(RECORDED_AT + 1):
        with replays.busy():
            found, *_ = replays(pictures)
        assert len(found) == len(pictures)


def test_no_frame_waits_for_another_model_that_is_loaded():
    taken: list[Any] = []

    def recorder(compute: Compute, pictures: Any) -> Recording:
        taken.append(pictures)
        return Recording(pictures, compute(pictures), lambda: None)

    replays = Replays(sums, CPU, "net", recorder)
    picture = [np.zeros((4, 6, 3), np.uint8)]
    done = threading.Event()

    def call() -> None:
        for _ in range(RECORDED_AT + 1):
            with replays.busy():
                replays(picture)
        done.set()

    with undisturbed:  # as an engine's loading has it, for seconds
        threading.Thread(target=call, daemon=True).start()
        assert done.wait(30)
    assert taken == []
    with replays.busy():
        replays(picture)
    assert len(taken) == 1, "recorded as soon as nothing is in the way"


def test_what_cannot_be_recorded_is_computed_and_told_once(caplog: pytest.LogCaptureFixture):
    tried: list[int] = []

    def failing(compute: Callable, batch) -> Recording:
        tried.append(len(batch))
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    replays = Replays(sums, CPU, "net.pt", failing)
    replays.warm_up((8, 12))
    with replays.busy():
        for _ in range(2 * RECORDED_AT):
            (total, _) = replays(pictures(2))
            assert total.tolist() == [float(one.sum()) for one in pictures(2)]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert tried == [1, 2, 4]
    assert "net.pt is not replayed from CUDA graphs: CUDA error: operation not permitted" in told[0]


def test_a_recording_that_was_disturbed_is_made_later(caplog: pytest.LogCaptureFixture):
    recorder = Again()

    def disturbed(compute: Callable, batch) -> Recording:
        if len(recorder.keys) == 0:
            recorder.keys.append(())
            raise RuntimeError("capture was invalidated")
        return recorder(compute, batch)

    replays = Replays(sums, CPU, "net.pt", disturbed)
    replays.warm_up((8, 12))
    assert replays.recorded == len(BATCHES) - 1
    with replays.busy():
        for _ in range(RECORDED_AT):
            replays(pictures(1))
    assert replays.recorded == len(BATCHES)
    assert caplog.records == []
