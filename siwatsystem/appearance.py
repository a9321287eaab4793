"""A loaded appearance encoder, shared by all pipelines that tell objects apart by their looks."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime import auto
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.batcher import ModelClosed
from siwatsystem.runtime.encoder import Encoder, stretched, unit_rows
from siwatsystem.runtime.postprocess import Floats

logger = logging.getLogger(__name__)


class SharedEncoder:
    """Crops in, unit rows of features out. Calls of many threads are served one after the other."""

    task: Literal["embed"] = "embed"

    def __init__(
        self, path: Path, sha256: str, settings: RuntimeSettings, cache_dir: Path, stop: threading.Event
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
        self._lock = threading.Lock()
        self._closed = False
        self.fast_available = auto.supports_fast(settings, path)
        self._exact, self.dimensions = self._load("exact")
        self._fast: Encoder | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that crops are stretched to."""
        return self._exact.input.size

    @property
    def runtime(self) -> str:
        return self._exact.runtime

    @property
    def fast_loaded(self) -> bool:
        return self._fast is not None

    def embed(self, images: Sequence[Image], precision: Precision = "exact") -> Floats:
        """Appearance features: n × `dimensions`, rows of length one, for n crops.

        Crops are H×W×3 BGR, 8 bits, of any size; the dot product of two rows is their likeness, -1
        to 1. Blocks; any thread; all crops of a frame in one call cost least on a GPU. *fast* is
        loaded at its first use. Raises ModelClosed, ValueError for what is no picture, ModelInvalid
        where there is no fast variant, RuntimeError where the runtime fails.
        """
        batch = stretched(images, self.input_size)
        with self._lock:
            if self._closed:
                raise ModelClosed
            encoder = self._exact if precision == "exact" else self._ensure_fast()
            if not len(batch):
                return np.zeros((0, self.dimensions), np.float32)
            features = encoder.features(batch)
        return unit_rows(features)

    def ensure_fast(self) -> None:
        """Load the fast variant if it is not. Raises ModelInvalid where there is none here."""
        with self._lock:
            self._ensure_fast()

    def close(self) -> None:
        """Let the call under way end, then close what is loaded."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._exact.close()
            if self._fast is not None:
                self._fast.close()

    def _ensure_fast(self) -> Encoder:
        if self._fast is None:
            if self._closed or not self.fast_available:
                raise ModelInvalid(f"{self.path.name}: no fast variant can be loaded")
            self._fast, _ = self._load("fast")
        return self._fast

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
