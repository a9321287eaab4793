"""torch: the features of a classification network are what goes into its last linear layer."""

from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.encoder import input_of
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.torch import GPU_BATCH, TorchBackend


class TorchEncoder:
    """A classification network of torch, listened to before its last layer."""

    runtime = "torch"

    def __init__(self, weights: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `weights` (.pt). Raises ModelRefused, ModelInvalid, FileNotFoundError."""
        self._backend = TorchBackend(weights, settings, precision)
        self.precision: Precision = precision
        self.input = input_of(self._backend.metadata, weights.name)
        import torch

        linear = [part for part in self._backend.network.modules() if isinstance(part, torch.nn.Linear)]
        if not linear:
            raise ModelInvalid(f"{weights.name}: has no linear layer, so no features before it")
        self._caught: list[Any] = []
        linear[-1].register_forward_pre_hook(self._catch)

    def features(self, batch: Image) -> Floats:
        """N × D for N pictures of the input's size. Raises RuntimeError where torch fails."""
        parts: list[Floats] = []
        for start in range(0, len(batch), GPU_BATCH):
            self._caught.clear()
            self._backend.forward(batch[start : start + GPU_BATCH], 0.0)
            parts.append(self._caught.pop().flatten(1).float().cpu().numpy())
        return np.concatenate(parts)

    def close(self) -> None:
        self._backend.close()
        self._caught.clear()

    def _catch(self, _layer: Any, arguments: tuple[Any, ...]) -> None:
        self._caught.append(arguments[0])
