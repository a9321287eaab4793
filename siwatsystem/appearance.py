"""A loaded appearance encoder, shared by all pipelines that tell objects apart by their looks."""

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime import auto
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.batcher import ModelClosed, ModelStuck
from siwatsystem.runtime.encoder import Encoder, stretched, unit_rows
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.serving import RELOAD_SEC
from siwatsystem.supervision import MOST_STUCK, Care, Watched

logger = logging.getLogger(__name__)

_NOTICED_SEC = 0.5
_CLOSE_SEC = 10.0


class _Loaded:
    """An encoder in both precisions, which one thread at a time uses: who holds `lock`."""

    def __init__(self, exact: Encoder) -> None:
        self.exact = exact
        self.fast: Encoder | None = None
        self.lock = threading.Lock()
        self.since: float | None = None
        """When the call under way began (`time.monotonic()`); None while there is none."""
        self._closed = False

    def close(self) -> None:
        """By who holds `lock`."""
        if self._closed:
            return
        self._closed = True
        self.exact.close()
        if self.fast is not None:
            self.fast.close()


class SharedEncoder:
    """Crops in, unit rows of features out. Calls of many threads are served one after the other.

    What got stuck in a call is left alone and loaded anew, as models are (`runtime.serving`).
    """

    task: Literal["embed"] = "embed"

    def __init__(
        self,
        path: Path,
        sha256: str,
        settings: RuntimeSettings,
        cache_dir: Path,
        stop: threading.Event,
        care: Care,
    ) -> None:
        """Load the encoder at `path` in *exact* precision, unless `stop` is set meanwhile.

        See `runtime.auto.load_encoder` for what can be one. Raises ModelInvalid, ModelRefused,
        FileNotFoundError, InvalidSetting.
        """
        self.path = path
        self.digest = sha256
        self._settings = settings
        self._cache_dir = cache_dir
        self._stop = stop
        self._closed = False
        self.fast_available = auto.supports_fast(settings, path)
        exact, self.dimensions = self._load("exact")
        self._loaded = _Loaded(exact)
        self._given_up: list[_Loaded] = []
        """Those whose calls have not come back since."""
        self._state = threading.Lock()
        """For who changes what is in service, or that it is closed."""
        self._stuck_sec = care.stuck_sec
        self._reloading: float | None = None
        """Since when (`time.monotonic()`) it has been loaded anew; None while it is not."""
        self._unloadable: str | None = None
        """Why it could not be loaded anew."""
        name = f"{path.stem} (looks)"
        self._forget = care.watch(Watched("model", name, self._look, self._renew, detail=sha256[:8]))

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that crops are stretched to."""
        return self._loaded.exact.input.size

    @property
    def runtime(self) -> str:
        return self._loaded.exact.runtime

    @property
    def fast_loaded(self) -> bool:
        return self._loaded.fast is not None

    def embed(self, images: Sequence[Image], precision: Precision = "exact") -> Floats:
        """Appearance features: n × `dimensions`, rows of length one, for n crops.

        Crops are H×W×3 BGR, 8 bits, of any size; the dot product of two rows is their likeness, -1
        to 1. Blocks; any thread; all crops of a frame in one call cost least on a GPU. *fast* is
        loaded at its first use. Raises ModelClosed, ModelStuck, ValueError for what is no picture,
        ModelInvalid where there is no fast variant, RuntimeError where the runtime fails.
        """
        batch = stretched(images, self.input_size)
        with self._mine() as loaded:
            encoder = loaded.exact if precision == "exact" else self._ensure_fast(loaded)
            if not len(batch):
                return np.zeros((0, self.dimensions), np.float32)
            loaded.since = time.monotonic()
            features = encoder.features(batch)
        return unit_rows(features)

    def ensure_fast(self) -> None:
        """Load the fast variant if it is not. Raises ModelInvalid where there is none here."""
        with self._mine() as loaded:
            self._ensure_fast(loaded)

    def close(self) -> None:
        """Let the call under way end (at most 10 s), then close what is loaded; what hangs is left alone."""
        self._forget()
        with self._state:
            self._closed = True
            loaded = self._loaded
        if not loaded.lock.acquire(timeout=_CLOSE_SEC):
            logger.error("encoder %s is still computing after %g s", self.path.stem, _CLOSE_SEC)
            return
        try:
            loaded.close()
        finally:
            loaded.lock.release()

    @contextlib.contextmanager
    def _mine(self) -> Generator[_Loaded]:
        """What is in service, for this thread alone. Raises ModelClosed, and ModelStuck for those who
        wait while it gets stuck."""
        loaded = self._loaded
        while not loaded.lock.acquire(timeout=_NOTICED_SEC):
            if self._closed:
                raise ModelClosed
            if loaded is not self._loaded or self._reloading is not None:
                raise ModelStuck
        try:
            if self._closed:
                raise ModelClosed
            if loaded is not self._loaded:
                raise ModelStuck
            yield loaded
        finally:
            if loaded is not self._loaded or self._closed:
                loaded.close()  # it was given up, or closed, and has come back after all
            loaded.since = None
            loaded.lock.release()

    def _look(self, now: float) -> str | None:
        since = self._loaded.since
        reloading = self._reloading
        if reloading is not None:
            return (
                None
                if now - reloading <= RELOAD_SEC
                else f"loading it anew takes longer than {RELOAD_SEC:g} s"
            )
        if since is not None and now - since > self._stuck_sec:
            return f"a call takes longer than {self._stuck_sec:g} s"
        return self._unloadable

    def _renew(self) -> bool:
        """Load it anew, in the background; False where that cannot be done."""
        if self._closed or self._reloading is not None:
            return False
        self._given_up = [one for one in {*self._given_up, self._loaded} if one.lock.locked()]
        if len(self._given_up) >= MOST_STUCK:
            self._unloadable = f"it hangs {len(self._given_up)} times already: restart the worker"
            return False
        self._reloading = time.monotonic()
        try:
            threading.Thread(target=self._reload, name=f"reload-{self.path.stem}", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had now
            self._unloadable, self._reloading = f"it could not be loaded anew: {error}", None
            return False
        return True

    def _reload(self) -> None:
        try:
            fresh = _Loaded(self._load("exact")[0])
        except Exception as error:
            # This thread's outermost call: whatever keeps an encoder from being loaded is told by `_look`.
            logger.exception("encoder %s could not be loaded anew", self.path.stem)
            self._unloadable = f"it could not be loaded anew: {type(error).__name__}: {error}"
        else:
            self._serve(fresh)
        self._reloading = None

    def _serve(self, fresh: _Loaded) -> None:
        """Have it answer from now on, unless all was closed meanwhile."""
        with self._state:
            closed, old = self._closed, self._loaded
            if not closed:
                self._loaded, self._unloadable = fresh, None
        unused = fresh if closed else old
        if unused.lock.acquire(blocking=False):  # else whoever holds it closes it
            try:
                unused.close()
            finally:
                unused.lock.release()

    def _ensure_fast(self, loaded: _Loaded) -> Encoder:
        if loaded.fast is None:
            if not self.fast_available:
                raise ModelInvalid(f"{self.path.name}: no fast variant can be loaded")
            loaded.fast, _ = self._load("fast")
        return loaded.fast

    def _load(self, precision: Precision) -> tuple[Encoder, int]:
        """The encoder and the length of its rows, which a black picture tells."""
        encoder = auto.load_encoder(self.path, self._settings, precision, self._cache_dir, self._stop)
        try:
            row = encoder.features(np.zeros((1, *encoder.input.size, 3), np.uint8))
        except RuntimeError as error:
            encoder.close()
            raise ModelInvalid(f"{self.path.name}: computes nothing ({str(error)[:200]})") from None
        if row.ndim != 2 or len(row) != 1:
            encoder.close()
            raise ModelInvalid(f"{self.path.name}: gives {row.shape} for a picture, not one row of features")
        logger.info("loaded %s (embed, %s, %s)", self.path.name, encoder.runtime, precision)
        return encoder, row.shape[1]
