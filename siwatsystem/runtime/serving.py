"""A model in service: loaded, asked through its batcher, and loaded anew when it got stuck.

What is stuck in native code cannot be ended: it is left where it is, with its backend, and a new one is
loaded beside it. Until that is there, whoever asks is told so (`ModelStuck`).
"""

import logging
import threading
import time
from collections.abc import Callable

from siwatsystem.detections import Prediction
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Backend
from siwatsystem.runtime.batcher import Batcher
from siwatsystem.supervision import MOST_STUCK, Care, Watched
from siwatsystem.views import View

logger = logging.getLogger(__name__)

RELOAD_SEC = 900.0
"""Loading anew, which may take an export and a trial, hangs itself where it takes longer."""


class Serving:
    """One model in one precision. Every member may be used from any thread."""

    def __init__(
        self,
        backend: Backend,
        load: Callable[[], Backend],
        wait_sec: float,
        name: str,
        care: Care,
        detail: str = "",
    ) -> None:
        """`load` makes another backend like this one, on a thread of its own, each time it got stuck.
        `wait_sec` and `name` are the batcher's; `detail` tells it from others of that name."""
        self._load = load
        self._wait_sec = wait_sec
        self._name = name
        self._stuck_sec = care.stuck_sec
        self._lock = threading.Lock()
        self._batcher = Batcher(backend, wait_sec, name)
        self._stuck: list[Batcher] = []
        """Those that were given up and have not answered since."""
        self._reloading: threading.Thread | None = None
        self._reloading_since = 0.0
        self._unloadable: str | None = None
        """Why it could not be loaded anew."""
        self._closed = False
        self._forget = care.watch(Watched("model", name, self._look, self.renew, detail=detail))

    @property
    def backend(self) -> Backend:
        """The one in service, or that which got stuck last: what it says of itself stays true."""
        return self._batcher.backend

    def predict(self, image: Image | View, min_confidence: float = 0.25) -> Prediction:
        """As of `Batcher.predict`; also raises ModelStuck while it is loaded anew."""
        return self._batcher.predict(image, min_confidence)

    def close(self) -> None:
        """Tell who waits, let calls under way end, close the backend."""
        self._forget()
        with self._lock:
            self._closed = True
        self._batcher.close()

    def renew(self) -> bool:
        """Give up what is in service and load it anew, in the background; False where that cannot be done."""
        if self._reloading is not None:
            return False
        self._batcher.abandon()
        with self._lock:
            if self._closed:
                return False
            self._stuck = [one for one in {*self._stuck, self._batcher} if one.computing]
            if len(self._stuck) >= MOST_STUCK:
                self._unloadable = f"it hangs {len(self._stuck)} times already: restart the worker"
                return False
            thread = threading.Thread(target=self._reload, name=f"reload-{self._name}", daemon=True)
            self._reloading, self._reloading_since = thread, time.monotonic()
            try:
                thread.start()
            except RuntimeError as error:  # no thread is to be had now
                self._unloadable, self._reloading = f"it could not be loaded anew: {error}", None
                return False
        return True

    def _look(self, now: float) -> str | None:
        if self._reloading is not None:
            since = now - self._reloading_since
            return f"loading it anew takes longer than {RELOAD_SEC:g} s" if since > RELOAD_SEC else None
        return self._unloadable or self._batcher.wrong(now, self._stuck_sec)

    def _reload(self) -> None:
        unloadable: str | None = None
        try:
            batcher = Batcher(self._load(), self._wait_sec, self._name)
        except Exception as error:
            # This thread's outermost call: whatever keeps a model from being loaded is told by `_look`.
            logger.exception("model %s could not be loaded anew", self._name)
            unloadable = f"it could not be loaded anew: {type(error).__name__}: {error}"
        else:
            with self._lock:
                closed, old = self._closed, self._batcher
                self._batcher = old if closed else batcher
            if closed:
                batcher.close()
            else:
                logger.info("model %s is loaded anew", self._name)
        with self._lock:
            self._unloadable = unloadable
            self._reloading = None
