"""Calls from many threads into one model.

Where a batch pays (a GPU), one thread gathers what waits and calls the model for all of it; a batch
that fails is tried again picture by picture, so that a bad one costs only itself. Where it does not
(a CPU) the caller's own thread calls the model, at most as many at a time as the model allows.
"""

import collections
import logging
import threading
from concurrent.futures import Future

from siwatsystem.detections import Prediction
from siwatsystem.errors import PipelineFailed
from siwatsystem.frames import Image
from siwatsystem.metrics import BATCH_SIZE
from siwatsystem.runtime.backend import Backend, Picture
from siwatsystem.views import View

logger = logging.getLogger(__name__)

_Waiting = tuple[Picture, "Future[Prediction]"]
_CLOSE_SEC = 10.0


class ModelClosed(PipelineFailed):
    """The model was closed while a picture waited for it."""


class Batcher:
    """Serves one backend; closing it closes the backend."""

    def __init__(self, backend: Backend, wait_sec: float, name: str = "model") -> None:
        """Wait at most `wait_sec` for further pictures of a batch; `name` is for metrics and threads."""
        self.backend = backend
        self._wait_sec = wait_sec
        self._sizes = BATCH_SIZE.labels(name)
        self._state = threading.Condition()
        self._closed = False
        self._running = 0
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

        Raises ModelClosed, or whatever the model raised for this picture.
        """
        picture = Picture(image, min_confidence)
        if self._thread is None:
            return self._call(picture)
        future: Future[Prediction] = Future()
        with self._state:
            if self._closed:
                raise ModelClosed
            self._waiting.append((picture, future))
            self._state.notify_all()
        return future.result()

    def close(self, timeout: float = _CLOSE_SEC) -> None:
        """Tell all who wait, let the call under way end (at most `timeout` seconds), close the backend."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            abandoned = list(self._waiting)
            self._waiting.clear()
            self._state.notify_all()
        for _, future in abandoned:
            future.set_exception(ModelClosed())
        with self._state:
            idle = self._state.wait_for(lambda: self._running == 0, timeout)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout if idle else 0)
        if idle:
            self.backend.close()
        else:
            logger.error("a model is still computing after %g s and was left alone", timeout)

    def _call(self, picture: Picture) -> Prediction:
        with self._state:
            self._state.wait_for(lambda: self._closed or self._running < self.backend.concurrency)
            if self._closed:
                raise ModelClosed
            self._running += 1
        try:
            self._sizes.observe(1)
            return self.backend.infer([picture])[0]
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()

    def _serve(self) -> None:
        while batch := self._gather():
            try:
                self._infer(batch)
            finally:
                with self._state:
                    self._running = 0
                    self._state.notify_all()

    def _gather(self) -> list[_Waiting]:
        """The next batch; empty when closed. From then on this thread counts as running.

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
            self._running = 1 if batch else 0
            return batch

    def _infer(self, batch: list[_Waiting]) -> None:
        self._sizes.observe(len(batch))
        try:
            predictions = self.backend.infer([picture for picture, _ in batch])
            if len(predictions) != len(batch):
                raise RuntimeError(f"{len(predictions)} answers for {len(batch)} pictures")
        except Exception as error:
            # This is the thread's outermost call: whatever a runtime raises goes to those who wait.
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            logger.warning("a batch of %d failed and is tried one by one", len(batch), exc_info=True)
            for item in batch:
                self._infer([item])
            return
        for (_, future), prediction in zip(batch, predictions, strict=True):
            future.set_result(prediction)
