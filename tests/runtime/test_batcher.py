"""Many threads into one model."""

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from siwatsystem.detections import Detection, Prediction
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.batcher import Batcher, ModelClosed, ModelStuck


class FakeBackend:
    """Sees one box as wide as the picture; fails on pictures one pixel high; can be held up."""

    task, names, input_size = "detect", {0: "Car"}, (64, 64)
    precision, runtime = "exact", "fake"

    def __init__(self, batch_size: int = 1, concurrency: int = 1) -> None:
        self.batch_size, self.concurrency = batch_size, concurrency
        self.batches: list[int] = []
        self.go, self.busy = threading.Event(), threading.Event()
        self.go.set()
        self.lock, self.inside, self.most_inside = threading.Lock(), 0, 0
        self.closed = 0

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        with self.lock:
            self.batches.append(len(pictures))
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.busy.set()
        assert self.go.wait(30)
        with self.lock:
            self.inside -= 1
        if any(picture.image.shape[0] == 1 for picture in pictures):
            raise RuntimeError("cannot look at this")
        return [(Detection("Car", 0.9, (0, 0, picture.image.shape[1], 1)),) for picture in pictures]

    def close(self) -> None:
        self.closed += 1


def picture(width: int, height: int = 8) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def ask(batcher: Batcher, image: np.ndarray, answers: dict[int, object]) -> None:
    try:
        answers[image.shape[1]] = batcher.predict(image)[0].xyxy[2]
    except (RuntimeError, ModelClosed, ModelStuck) as error:
        answers[image.shape[1]] = error


def ask_all(batcher: Batcher, images: list[np.ndarray]) -> tuple[list[threading.Thread], dict[int, object]]:
    answers: dict[int, object] = {}
    threads = [threading.Thread(target=ask, args=(batcher, image, answers)) for image in images]
    for thread in threads:
        thread.start()
    return threads, answers


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_what_waits_goes_together_and_each_gets_its_own_answer():
    backend = FakeBackend(batch_size=4)
    batcher = Batcher(backend, wait_sec=5)
    threads, answers = ask_all(batcher, [picture(width) for width in (10, 20, 30, 40)])
    join(threads)
    assert answers == {10: 10, 20: 20, 30: 30, 40: 40}
    assert backend.batches == [4]
    batcher.close()
    assert backend.closed == 1


def test_a_batch_does_not_wait_for_ever_to_be_full():
    backend = FakeBackend(batch_size=4)
    batcher = Batcher(backend, wait_sec=0.01)
    assert batcher.predict(picture(10))
    assert backend.batches == [1]
    batcher.close()


def test_who_asks_alone_waits_for_nobody():
    backend = FakeBackend(batch_size=4)
    batcher = Batcher(backend, wait_sec=0.2)
    batcher.predict(picture(10))  # nobody knows yet that there is one camera only
    began = time.monotonic()
    for _ in range(20):
        batcher.predict(picture(10))
    assert time.monotonic() - began < 20 * 0.2
    assert backend.batches == [1] * 21
    batcher.close()


def test_who_came_together_is_waited_for_the_next_time():
    backend = FakeBackend(batch_size=8)
    batcher = Batcher(backend, wait_sec=5)
    batcher._together = 1
    backend.go.clear()
    first, _ = ask_all(batcher, [picture(10)])
    assert backend.busy.wait(30)
    second, _ = ask_all(batcher, [picture(20), picture(30), picture(40)])
    deadline = time.monotonic() + 30
    while len(batcher._waiting) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    backend.go.set()
    join([*first, *second])
    third, _ = ask_all(batcher, [picture(20), picture(30), picture(40)])
    join(third)
    assert backend.batches == [1, 3, 3]
    batcher.close()


def test_a_bad_picture_costs_only_itself():
    backend = FakeBackend(batch_size=3)
    batcher = Batcher(backend, wait_sec=5)
    threads, answers = ask_all(batcher, [picture(10), picture(20, height=1), picture(30)])
    join(threads)
    assert (answers[10], answers[30]) == (10, 30)
    assert str(answers[20]) == "cannot look at this"
    assert sorted(backend.batches) == [1, 1, 1, 3]
    batcher.close()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_on_a_processor_callers_call_at_most_as_many_at_a_time(concurrency: int):
    backend = FakeBackend(concurrency=concurrency)
    batcher = Batcher(backend, wait_sec=0)
    threads, answers = ask_all(batcher, [picture(width) for width in range(10, 30)])
    join(threads)
    assert answers == {width: width for width in range(10, 30)}
    assert backend.most_inside <= concurrency
    assert set(backend.batches) == {1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batcher-")]
    batcher.close()


def test_two_calls_do_run_at_a_time():
    backend = FakeBackend(concurrency=2)
    backend.go.clear()
    batcher = Batcher(backend, wait_sec=0)
    threads, _ = ask_all(batcher, [picture(10), picture(20)])
    deadline = time.monotonic() + 30
    while backend.most_inside < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    backend.go.set()
    join(threads)
    assert backend.most_inside == 2
    batcher.close()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_closing_tells_everyone_who_waits_and_lets_the_call_end(batch_size: int):
    backend = FakeBackend(batch_size=batch_size)
    backend.go.clear()
    batcher = Batcher(backend, wait_sec=0, name="closing")
    first, answers = ask_all(batcher, [picture(10)])
    assert backend.busy.wait(30)
    others, told = ask_all(batcher, [picture(20), picture(30)])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    join(others)
    assert [type(answer) for answer in told.values()] == [ModelClosed, ModelClosed]
    assert not backend.closed
    backend.go.set()
    join([closing, *first])
    assert answers == {10: 10}
    assert backend.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "batcher-closing"]
    with pytest.raises(ModelClosed):
        batcher.predict(picture(10))


def test_a_call_that_never_ends_does_not_hold_up_closing_for_ever():
    backend = FakeBackend()
    backend.go.clear()
    batcher = Batcher(backend, wait_sec=0)
    threads, _ = ask_all(batcher, [picture(10)])
    assert backend.busy.wait(30)
    batcher.close(timeout=0.1)
    assert not backend.closed, "what still computes is not taken away"
    backend.go.set()
    join(threads)


def test_closing_a_backend_that_hangs_holds_up_neither_who_gives_it_up_nor_who_closes_it():
    go, asked = threading.Event(), threading.Semaphore(0)

    class Hangs(FakeBackend):
        def close(self) -> None:
            asked.release()
            assert go.wait(30)

    given_up, closed = Batcher(Hangs(), wait_sec=0), Batcher(Hangs(), wait_sec=0)
    began = time.monotonic()
    given_up.abandon()
    closed.close(timeout=0.1)
    assert time.monotonic() - began < 10
    assert asked.acquire(timeout=30)
    assert asked.acquire(timeout=30)
    go.set()


def test_a_batch_that_fails_after_it_was_given_up_is_not_tried_again():
    backend = FakeBackend(batch_size=2)
    backend.go.clear()
    batcher = Batcher(backend, wait_sec=5, name="late")
    threads, answers = ask_all(batcher, [picture(10, height=1), picture(20)])
    assert backend.busy.wait(30)
    batcher.abandon()
    join(threads)
    assert [type(answer) for answer in answers.values()] == [ModelStuck, ModelStuck]
    backend.go.set()
    deadline = time.monotonic() + 30
    while not backend.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (backend.closed, backend.batches) == (1, [2])
