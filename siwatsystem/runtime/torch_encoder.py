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
from siwatsystem.runtime.replays import Outputs
from siwatsystem.runtime.tensors import fetched
from siwatsystem.runtime.torch import GPU_BATCH, TorchNetwork


class TorchEncoder:
    """A classification network of torch, listened to before its last layer."""

    runtime = "torch"

    def __init__(self, weights: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `weights` (.pt). Raises ModelRefused, ModelInvalid, FileNotFoundError."""
        self._loaded = TorchNetwork(weights, settings, precision)
        self.precision: Precision = precision
        self.input = input_of(self._loaded.metadata, weights.name)
        import torch

        linear = [part for part in self._loaded.network.modules() if isinstance(part, torch.nn.Linear)]
        if not linear:
            raise ModelInvalid(f"{weights.name}: has no linear layer, so no features before it")
        self._caught: list[Any] = []
        linear[-1].register_forward_pre_hook(self._catch)
        self._replays = self._loaded.replays(self._compute, f"the encoder {weights.name}")
        if self._loaded.cuda:
            self._replays.warm_up(self.input.size)

    def features(self, batch: Image) -> Floats:
        """N × D for N pictures of the input's size. Raises RuntimeError where torch fails."""
        parts: list[Floats] = []
        for start in range(0, len(batch), GPU_BATCH):
            with self._replays.busy():
                (features,) = self._replays(list(batch[start : start + GPU_BATCH]))
                parts.extend(fetched(features, None, 0.0))
        return np.stack(parts)

    def close(self) -> None:
        self._replays.close()
        self._caught.clear()
        self._loaded.network = None

    def _compute(self, batch: Any) -> Outputs:
        self._caught.clear()
        self._loaded.network(self._loaded.prepare(batch))
        return (self._caught.pop().flatten(1),)

    def _catch(self, _layer: Any, arguments: tuple[Any, ...]) -> None:
        self._caught.append(arguments[0])
