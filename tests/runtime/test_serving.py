"""A model that hangs: who waits is told, a new one serves, the old one is closed if it ever comes back."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from siwatsystem.errors import PipelineFailed
from siwatsystem.runtime.batcher import ModelStuck
from siwatsystem.runtime.serving import RELOAD_SEC, Serving
from siwatsystem.supervision import MOST_STUCK, Care, Forget, Watched
from tests.runtime.test_batcher import FakeBackend, join, picture

STUCK_SEC = 30.0


class Watch:
    """Keeps what is to be watched, so that a test can look at any time of its own."""

    def __init__(self) -> None:
        self.watched: list[Watched] = []

    def __call__(self, watched: Watched) -> Forget:
        self.watched.append(watched)
        return lambda: self.watched.remove(watched)

    def look(self, later: float = 0.0) -> str | None:
        return self.watched[0].look(time.monotonic() + later)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stuck(batch_size: int) -> FakeBackend:
    backend = FakeBackend(batch_size, concurrency=2)
    backend.go.clear()
    return backend


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_call_that_hangs(batch_size: int) -> None:
    watch, hung, fresh = Watch(), stuck(batch_size), FakeBackend(batch_size)
    serving = Serving(hung, lambda: fresh, 0.0, "hangs", Care(watch, STUCK_SEC))
    answers: dict[int, object] = {}
    threads = [
        threading.Thread(target=lambda width=width: answers.update({width: told(serving, width)}))
        for width in (10, 20, 30)
    ]
    for thread in threads:
        thread.start()
    assert hung.busy.wait(30)
    until(lambda: hung.inside == (1 if batch_size > 1 else 2))
    assert watch.look() is None
    assert watch.look(later=STUCK_SEC + 1) == "a call takes longer than 30 s"

    watch.watched[0].restart()
    until(lambda: serving.backend is fresh)
    assert watch.look(later=STUCK_SEC + 1) is None
    assert told(serving, 40) == 40
    # Who waited behind the hung call knows at once; on a GPU nobody waits in native code at all.
    until(lambda: len(answers) == (3 if batch_size > 1 else 1))
    assert set(answers.values()) == {"ModelStuck"}
    assert hung.closed == 0

    hung.go.set()
    join(threads)
    until(lambda: hung.closed == 1)
    serving.close()
    assert (fresh.closed, watch.watched) == (1, [])


def told(serving: Serving, width: int) -> object:
    try:
        return serving.predict(picture(width), 0.25)[0].xyxy[2]
    except PipelineFailed as error:
        return type(error).__name__


def test_one_that_cannot_be_loaded_again_is_tried_again_by_the_next_restart() -> None:
    watch, hung, fresh = Watch(), stuck(1), FakeBackend()
    attempts = iter([OSError("no memory"), fresh])

    def load() -> FakeBackend:
        attempt = next(attempts)
        if isinstance(attempt, FakeBackend):
            return attempt
        raise attempt

    serving = Serving(hung, load, 0.0, "stubborn", Care(watch, STUCK_SEC))
    serving.renew()
    until(lambda: watch.look() is not None)
    assert watch.look() == "it could not be loaded anew: OSError: no memory"
    with pytest.raises(ModelStuck):
        serving.predict(picture(8), 0.25)
    serving.renew()
    until(lambda: serving.backend is fresh)
    assert watch.look() is None
    serving.close()


def test_backends_that_hang_are_bounded_and_one_that_comes_back_makes_room() -> None:
    hung = [stuck(1) for _ in range(MOST_STUCK)]
    fresh = FakeBackend()
    backends = iter([*hung[1:], fresh])
    watch = Watch()
    serving = Serving(hung[0], lambda: next(backends), 0.0, "hangs", Care(watch, STUCK_SEC))
    threads: list[threading.Thread] = []
    for backend in hung:
        until(lambda backend=backend: serving.backend is backend and watch.look() is None)
        threads.append(threading.Thread(target=told, args=(serving, 10)))
        threads[-1].start()
        assert backend.busy.wait(30)
        restarted = watch.watched[0].restart()
        assert restarted is (backend is not hung[-1])
    assert watch.look() == f"it hangs {MOST_STUCK} times already: restart the worker"
    hung[2].go.set()
    until(lambda: hung[2].closed)
    assert watch.watched[0].restart() is True
    until(lambda: serving.backend is fresh)
    until(lambda: watch.look() is None)
    for backend in hung:
        backend.go.set()
    join(threads)
    serving.close()


def test_where_there_is_no_thread_for_loading_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watch, fresh = Watch(), FakeBackend()
    serving = Serving(stuck(1), lambda: fresh, 0.0, "waits", Care(watch, STUCK_SEC))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert serving.renew() is False
    assert watch.look() == "it could not be loaded anew: can't start new thread"
    assert serving.renew() is True
    until(lambda: serving.backend is fresh)
    serving.close()


def test_loading_anew_that_hangs_is_told() -> None:
    go, watch = threading.Event(), Watch()

    def load() -> FakeBackend:
        assert go.wait(30)
        return FakeBackend()

    serving = Serving(stuck(1), load, 0.0, "waits", Care(watch, STUCK_SEC))
    assert serving.renew() is True
    assert watch.look() is None
    assert watch.look(later=RELOAD_SEC + 1) == "loading it anew takes longer than 900 s"
    assert serving.renew() is False
    go.set()
    until(lambda: watch.look(later=RELOAD_SEC + 1) is None)
    assert told(serving, 8) == 8
    serving.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is to die
def test_a_batching_thread_that_died() -> None:
    class Dies(FakeBackend):
        def infer(self, pictures):  # type: ignore[no-untyped-def]
            raise SystemExit

    watch, fresh = Watch(), FakeBackend(4)
    serving = Serving(Dies(4), lambda: fresh, 0.0, "dies", Care(watch, STUCK_SEC))
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(told(serving, 10)))
    thread.start()
    until(lambda: watch.look() is not None)
    assert watch.look() == "its thread has ended"
    serving.renew()
    join([thread])
    assert answers == ["ModelStuck"]
    until(lambda: serving.backend is fresh)
    assert serving.predict(np.zeros((8, 16, 3), np.uint8), 0.25)
    serving.close()


def test_closing_while_it_is_loaded_anew_closes_that_too() -> None:
    loading, go = threading.Event(), threading.Event()
    fresh = FakeBackend()

    def load() -> FakeBackend:
        loading.set()
        assert go.wait(30)
        return fresh

    hung = stuck(1)
    serving = Serving(hung, load, 0.0, "late", Care(Watch(), STUCK_SEC))
    serving.renew()
    assert loading.wait(30)
    serving.close()
    go.set()
    until(lambda: fresh.closed == 1)
