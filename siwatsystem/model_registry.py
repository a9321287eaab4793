"""One loaded model (or appearance encoder) per file digest and process, however many pipelines use it.

References are counted per model id. Loading (which may export for minutes) happens outside the
registry's lock: two different models load side by side, the same one once, and those who asked for
it meanwhile get the same model or the same error.
"""

import atexit
import logging
import math
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from siwatsystem.appearance import SharedEncoder
from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime import auto
from siwatsystem.runtime.backend import Backend, Precision, Task
from siwatsystem.runtime.digest import digest
from siwatsystem.runtime.serving import Serving
from siwatsystem.supervision import Care
from siwatsystem.views import View

logger = logging.getLogger(__name__)

_NOTICED_SEC = 0.1
_LOAD_SEC = 120.0
"""What loading itself, which compiles, may take after export and trial."""


class LoadingStuck(ModelInvalid):
    """Loading did not come to its end, though the trial did. That may pass."""

    permanent = False


def longest_load(settings: RuntimeSettings) -> float:
    """Seconds after which the loading of one model hangs: its export and trial have deadlines, and may wait
    for those of another process. *exact*, which comes first, builds no engine."""
    return 2 * (settings.export_timeout_sec + settings.trial_timeout_sec) + _LOAD_SEC


class SharedModel:
    """A model that is loaded: `names`, `task`, `predict`."""

    def __init__(
        self,
        path: Path,
        sha256: str,
        settings: RuntimeSettings,
        cache_dir: Path,
        stop: threading.Event,
        care: Care,
    ) -> None:
        """Load `path` in *exact* precision, unless `stop` is set meanwhile.

        Raises ModelInvalid, ModelRefused, FileNotFoundError.
        """
        self.path = path
        self.digest = sha256
        self._settings = settings
        self._cache_dir = cache_dir
        self._stop = stop
        self._care = care
        self._exact = self._load("exact")
        self._fast: Serving | None = None
        self._fast_lock = threading.Lock()
        self._closed = False
        self.fast_available = auto.supports_fast(settings, path)

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self._exact.backend.names

    @property
    def task(self) -> Task:
        return self._exact.backend.task

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that pictures are brought to."""
        return self._exact.backend.input_size

    @property
    def runtime(self) -> str:
        return self._exact.backend.runtime

    @property
    def batch_size(self) -> int:
        """Most pictures that one call gains from; 1 where it gains from none."""
        return self._exact.backend.batch_size

    @property
    def fast_loaded(self) -> bool:
        return self._fast is not None

    def predict(
        self, image: Image | View, min_confidence: float = 0.25, precision: Precision = "exact"
    ) -> Prediction:
        """What the model sees on `image` (H×W×3 BGR, 8 bits, or a view of a frame); blocks; any thread.

        *exact* takes the pixels that the reference takes, *fast* samples a view. *fast* is loaded at its
        first use (see `ensure_fast`). Raises ModelClosed, ModelStuck, ValueError for what is no picture,
        RuntimeError where the runtime fails.
        """
        if isinstance(image, View):
            image = image.image if precision == "exact" else image
        elif image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"an array of shape {image.shape} is no picture of height × width × 3")
        serving = self._exact if precision == "exact" else self._ensure_fast()
        return serving.predict(image, min_confidence)

    def ensure_fast(self, stop: threading.Event | None = None) -> None:
        """Load the fast variant if it is not, which takes minutes where an engine is built; `stop` ends
        that. Raises ModelInvalid where there is none here."""
        self._ensure_fast(stop)

    def close(self) -> None:
        """Close what is loaded; whoever waits for a prediction is told."""
        with self._fast_lock:
            self._closed = True
            fast = self._fast
        self._exact.close()
        if fast is not None:
            fast.close()

    def _ensure_fast(self, stop: threading.Event | None = None) -> Serving:
        while not self._fast_lock.acquire(timeout=_NOTICED_SEC):
            if stop is not None and stop.is_set():
                raise ModelInvalid("closed")
        try:
            if self._fast is None:
                if self._closed or not self.fast_available:
                    raise ModelInvalid(f"{self.path.name}: no fast variant can be loaded")
                self._fast = self._load("fast", stop)
            return self._fast
        finally:
            self._fast_lock.release()

    def _load(self, precision: Precision, stop: threading.Event | None = None) -> Serving:
        def load(ends: threading.Event = self._stop) -> Backend:
            backend = auto.load(self.path, self._settings, precision, self._cache_dir, ends)
            logger.info("loaded %s (%s, %s, %s)", self.path.name, backend.task, backend.runtime, precision)
            return backend

        backend = load(self._stop if stop is None else _Either(self._stop, stop))
        name = self.path.stem if precision == "exact" else f"{self.path.stem} ({precision})"
        wait_sec = self._settings.batch_wait_ms / 1000
        return Serving(backend, load, wait_sec, name, self._care, detail=self.digest[:8])


class _Either(threading.Event):
    """Set when one of two others is."""

    def __init__(self, one: threading.Event, other: threading.Event) -> None:
        super().__init__()
        self._others = one, other

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._others)

    def wait(self, timeout: float | None = None) -> bool:
        """As of an event, but noticing only now and then; `timeout` in seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            self._others[1].wait(min(left, _NOTICED_SEC))
        return self.is_set()


Shared = SharedModel | SharedEncoder

_Kind = type[SharedModel] | type[SharedEncoder]


@dataclass
class _Slot:
    loading: "Future[Shared]" = field(default_factory=Future[Shared])
    references: int = 0
    began: float = field(default_factory=time.monotonic)


@dataclass
class _Reference:
    slot: _Slot
    kind: _Kind
    digest: str
    path: Path

    @property
    def key(self) -> tuple[_Kind, str]:
        """What is loaded once: a file may be both a model and an encoder."""
        return self.kind, self.digest


class ModelRegistry:
    """Counted references to shared models."""

    def __init__(self, settings: RuntimeSettings, cache_dir: Path, care: Care | None = None) -> None:
        """`cache_dir` holds exported models, by digest."""
        self._settings = settings
        self._care = care or Care()
        self._cache_dir = cache_dir
        self._lock = threading.Lock()
        self._slots: dict[tuple[_Kind, str], _Slot] = {}
        self._references: dict[str, list[_Reference]] = {}
        self._stop = threading.Event()

    def acquire(self, model_id: str, path: str | Path) -> SharedModel:
        """The model at `path`, loaded once; blocks until it is. Give it back with `release`.

        Raises FileNotFoundError, ModelInvalid, ModelRefused, InvalidSetting.
        """
        return cast(SharedModel, self._acquire(model_id, Path(path).absolute(), SharedModel))

    def acquire_encoder(self, model_id: str, path: str | Path) -> SharedEncoder:
        """The appearance encoder at `path`, loaded once; blocks until it is. Give it back with `release`.

        It is loaded beside the model of the same file, if there is one, from the same export. Raises
        FileNotFoundError, ModelInvalid (also for a model that is no encoder), ModelRefused,
        InvalidSetting.
        """
        return cast(SharedEncoder, self._acquire(model_id, Path(path).absolute(), SharedEncoder))

    def _acquire(self, model_id: str, path: Path, kind: _Kind) -> Shared:
        reference = _Reference(_Slot(), kind, digest(path), path)
        with self._lock:
            if self._stop.is_set():
                raise ModelInvalid("the model registry is closed")
            slot = self._slots.setdefault(reference.key, reference.slot)
            if not slot.loading.done() and self._left(slot) <= 0:
                # Whoever loads it hangs: this one is loaded beside it, and what the other brings is its own.
                slot = self._slots[reference.key] = reference.slot
            mine = slot is reference.slot
            reference.slot = slot
            slot.references += 1
            self._references.setdefault(model_id, []).append(reference)
        try:
            if mine:
                self._load(reference)
            elif not wait((slot.loading,), max(0.0, self._left(slot))).done:
                raise LoadingStuck(f"{path.name}: who loads it does not come to an end")
            return slot.loading.result()
        except BaseException:
            self._forget(model_id, reference)
            raise

    def _left(self, slot: _Slot) -> float:
        """Seconds that loading may still take."""
        return slot.began + longest_load(self._settings) - time.monotonic()

    def release(self, model_id: str, model: Shared | None = None) -> None:
        """Give one reference back; the last one closes the model. An unknown id changes nothing.

        `model` says which where one id stood for several files or kinds; without it the oldest goes.
        """
        with self._lock:
            held = self._references.get(model_id, [])
            chosen = next(
                (one for one in held if model is None or one.key == (type(model), model.digest)), None
            )
        if chosen is None:
            # At the end pipelines are closed while the registry is.
            if not self._stop.is_set():
                logger.warning("model %s was released, but nobody holds it", model_id)
            return
        self._forget(model_id, chosen)

    def status(self) -> dict[str, Any]:
        """`{total_models, models: {id: {file_path, reference_count, …}}, total_references}`."""
        with self._lock:
            models = {model_id: _described(held) for model_id, held in self._references.items()}
        return {
            "total_models": len(models),
            "models": models,
            "total_references": sum(model["reference_count"] for model in models.values()),
        }

    def cleanup(self) -> None:
        """Close every model, whoever holds it."""
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
            self._references.clear()
        for slot in slots:
            _close(slot)

    def close(self) -> None:
        """`cleanup`, and refuse what is asked from then on. Running exports are killed at once: who
        waits for one gets ModelInvalid("closed")."""
        with self._lock:
            self._stop.set()
        self.cleanup()

    def _load(self, reference: _Reference) -> None:
        slot = reference.slot
        try:
            model = reference.kind(
                reference.path, reference.digest, self._settings, self._cache_dir, self._stop, self._care
            )
        except BaseException as error:
            # Whoever waits for this model must hear of anything that ends its loading.
            with self._lock:
                if self._slots.get(reference.key) is slot:
                    del self._slots[reference.key]
            slot.loading.set_exception(error)
            raise
        slot.loading.set_result(model)

    def _forget(self, model_id: str, reference: _Reference) -> None:
        slot = reference.slot
        with self._lock:
            held = self._references.get(model_id, [])
            if not any(one is reference for one in held):
                return  # cleaned up, or given back by another thread meanwhile
            left = [one for one in held if one is not reference]
            if left:
                self._references[model_id] = left
            else:
                del self._references[model_id]
            slot.references -= 1
            last = slot.references == 0
            if last and self._slots.get(reference.key) is slot:
                del self._slots[reference.key]
        if last:
            _close(slot)


def _described(held: list[_Reference]) -> dict[str, Any]:
    newest = held[-1]
    out: dict[str, Any] = {"file_path": str(newest.path), "reference_count": len(held)}
    loading = newest.slot.loading
    if loading.done() and not loading.exception():
        model = loading.result()
        out |= {"task": model.task, "runtime": model.runtime, "fast_loaded": model.fast_loaded}
    return out


def _close(slot: _Slot) -> None:
    """Close the slot's model, now or as soon as it has been loaded."""
    slot.loading.add_done_callback(_close_loaded)


def _close_loaded(loading: "Future[Shared]") -> None:
    if not loading.exception():
        loading.result().close()


_default: ModelRegistry | None = None
_default_lock = threading.Lock()


def default_registry() -> ModelRegistry:
    """The process-wide registry, made with default settings where none was installed."""
    global _default
    with _default_lock:
        if _default is None:
            _default = _guarded(ModelRegistry(RuntimeSettings(), Path("models") / ".runtime"))
        return _default


def set_default_registry(registry: ModelRegistry | None) -> None:
    """Install the registry that the module's functions work on; the one before stays as it is."""
    global _default
    with _default_lock:
        _default = None if registry is None else _guarded(registry)


def _guarded(registry: ModelRegistry) -> ModelRegistry:
    # A runtime whose call is under way while the interpreter unloads it takes the process down.
    atexit.register(registry.close)
    return registry


def get_shared_model(model_id: str, model_file_path: str | Path) -> SharedModel:
    """The model of that file, loaded once per process. Raises FileNotFoundError, ModelError."""
    return default_registry().acquire(model_id, model_file_path)


def release_shared_model(model_id: str) -> None:
    """Give one reference back; the last one closes the model."""
    default_registry().release(model_id)


def get_registry_status() -> dict[str, Any]:
    """`{total_models, models: {id: {file_path, reference_count}}, total_references}`."""
    return default_registry().status()


def cleanup_registry() -> None:
    """Close every model of the process-wide registry."""
    default_registry().cleanup()
