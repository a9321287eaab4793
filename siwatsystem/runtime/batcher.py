"""Calls from many threads into one model.

Where a batch pays (a GPU), one thread gathers what waits and calls the model for all of it; a batch
that fails is tried again picture by picture, so that a bad one costs only itself. Where it does not
(a CPU) the caller's own thread calls the model, at most as many at a time as the model allows.
"""

import collections
import contextlib
import itertools
import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError

from siwatsystem.detections import Prediction
from siwatsystem.errors import PipelineFailed
from siwatsystem.frames import Image
from siwatsystem.metrics import BATCH_SIZES
from siwatsystem.runtime.backend import Backend, Picture
from siwatsystem.views import View

logger = logging.getLogger(__name__)

_Waiting = tuple[Picture, "Future[Prediction]"]
_CLOSE_SEC = 10.0


class ModelClosed(PipelineFailed):
    """The model was closed while a picture waited for it."""


class ModelStuck(PipelineFailed):
    """The model did not answer and is loaded anew."""


class Batcher:
    """Serves one backend; closing it closes the backend."""

    def __init__(self, backend: Backend, wait_sec: float, name: str = "model") -> None:
        """Wait at most `wait_sec` for further pictures of a batch; `name` is for metrics and threads."""
        self.backend = backend
        self._name = name
        self._wait_sec = wait_sec
        BATCH_SIZES.hold(name)
        self._state = threading.Condition()
        self._closed: type[PipelineFailed] | None = None
        """What those who ask are told once it is closed."""
        self._calls: dict[int, float] = {}
        """The calls under way, by number: when each began (`time.monotonic()`)."""
        self._numbers = itertools.count()
        self._batch: list[_Waiting] = []
        """What the thread's call under way is for."""
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._together = backend.batch_size
        """Pictures that waited when the last batch was taken."""
        self._thread: threading.Thread | None = None
        if backend.batch_size > 1:
            # A daemon, so that an owner who never closes it does not keep the process alive.
            self._thread = threading.Thread(target=self._serve, name=f"batcher-{name}", daemon=True)
            self._thread.start()

    def predict(self, image: Image | View, min_confidence: float = 0.25) -> Prediction:
        """What the model sees on `image` (H×W×3 BGR, or a view to be sampled); blocks. Any thread.

        Raises ModelClosed, ModelStuck, or whatever the model raised for this picture.
        """
        picture = Picture(image, min_confidence)
        if self._thread is None:
            return self._call(picture)
        future: Future[Prediction] = Future()
        with self._state:
            self._refuse_if_closed()
            self._waiting.append((picture, future))
            self._state.notify_all()
        return future.result()

    def close(self, timeout: float = _CLOSE_SEC) -> None:
        """Tell all who wait, let the call under way end (at most `timeout` seconds), close the backend."""
        with self._state:
            if self._closed:
                return
            self._end(ModelClosed)
            idle = self._state.wait_for(lambda: not self._calls, timeout)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout if idle else 0)
        if idle:
            self._close_backend(timeout)
        else:
            logger.error("a model is still computing after %g s and was left alone", timeout)

    def wrong(self, now: float, stuck_sec: float) -> str | None:
        """What keeps it from answering, if anything: a call that takes longer than `stuck_sec`, a thread
        that is no more."""
        with self._state:
            if self._closed:
                return None
            since = min(self._calls.values(), default=now)
        if now - since > stuck_sec:
            return f"a call takes longer than {stuck_sec:g} s"
        if self._thread is not None and not self._thread.is_alive():
            return "its thread has ended"
        return None

    @property
    def computing(self) -> bool:
        """Whether a call is under way."""
        with self._state:
            return bool(self._calls)

    def abandon(self) -> None:
        """Serve nothing any more, without waiting for calls under way: nothing can end them. Who waits
        is told (ModelStuck); the backend is closed once the last call comes back, if it ever does."""
        with self._state:
            if self._closed:
                return
            for _, future in self._batch:
                _fail(future, ModelStuck())
            self._end(ModelStuck)
            idle = not self._calls
        if idle:
            self._close_backend(0.0)

    def _close_backend(self, timeout: float) -> None:
        """Close the backend, waiting at most `timeout` seconds: that is native code, which may hang too."""
        thread = threading.Thread(target=self.backend.close, name=f"close-{self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            logger.warning("a model is left as it is, as there is no thread to close it: %s", error)
            return
        thread.join(timeout)
        if timeout and thread.is_alive():
            logger.error("a model is still closing after %g s and was left alone", timeout)

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise self._closed

    def _end(self, told: type[PipelineFailed]) -> None:
        """Have nothing wait any more; called with the lock held."""
        self._closed = told
        BATCH_SIZES.release(self._name)
        for _, future in self._waiting:
            _fail(future, told())
        self._waiting.clear()
        self._state.notify_all()

    def _call(self, picture: Picture) -> Prediction:
        with self._state:
            self._state.wait_for(lambda: self._closed or len(self._calls) < self.backend.concurrency)
            self._refuse_if_closed()
            number = self._begin()
        try:
            BATCH_SIZES.observe(self._name, 1)
            return self.backend.infer([picture])[0]
        finally:
            self._came_back(number)

    def _begin(self) -> int:
        """Note a call; called with the lock held."""
        number = next(self._numbers)
        self._calls[number] = time.monotonic()
        return number

    def _came_back(self, number: int) -> None:
        with self._state:
            self._calls.pop(number, None)
            self._state.notify_all()
            last_of_abandoned = self._closed is ModelStuck and not self._calls
        if last_of_abandoned:
            logger.warning("a model that was given up has answered after all and is closed")
            self.backend.close()

    def _serve(self) -> None:
        while gathered := self._gather():
            number, batch = gathered
            try:
                self._infer(batch)
                self._batch = []  # pictures are large; kept only where somebody may still have to be told
            finally:
                self._came_back(number)

    def _gather(self) -> tuple[int, list[_Waiting]] | None:
        """The next batch and its call's number; None when closed. From then on the call is under way.

        It waits for as many as came together the last time: one camera alone never waits, and many
        that ask at a time are worth the few milliseconds.
        """
        full = self.backend.batch_size
        with self._state:
            self._state.wait_for(lambda: self._closed or bool(self._waiting))
            wanted = min(full, self._together)
            self._state.wait_for(lambda: self._closed or len(self._waiting) >= wanted, self._wait_sec)
            self._together = max(1, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), full))]
            if not batch:
                return None
            self._batch = batch
            return self._begin(), batch

    def _infer(self, batch: list[_Waiting]) -> None:
        BATCH_SIZES.observe(self._name, len(batch))
        try:
            predictions = self.backend.infer([picture for picture, _ in batch])
            if len(predictions) != len(batch):
                raise RuntimeError(f"{len(predictions)} answers for {len(batch)} pictures")
        except Exception as error:
            # This is the thread's outermost call: whatever a runtime raises goes to those who wait.
            if len(batch) == 1 or self._closed is ModelStuck:
                for (
                    _,
                    future,
                ) in batch:  # those of one that was given up have been told, and are not asked again
                    _fail(future, error)
                return
            logger.warning("a batch of %d failed and is tried one by one", len(batch), exc_info=True)
            for item in batch:
                self._infer([item])
            return
        for (_, future), prediction in zip(batch, predictions, strict=True):
            with contextlib.suppress(InvalidStateError):  # given up meanwhile
                future.set_result(prediction)


def _fail(future: "Future[Prediction]", error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):  # answered, or told of another failure, meanwhile
        future.set_exception(error)
