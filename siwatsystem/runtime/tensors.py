"""Pictures into what a network of torch or TensorRT takes, and its output back: on the device itself.

What leaves the device is only what can become a box; everything else of it is never copied.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from siwatsystem.runtime.metadata import Metadata, Triple
from siwatsystem.runtime.postprocess import Floats

_ROWS_OF_BOXES = 6
"""An output with this many columns is read as rows of boxes (see `postprocess.boxes_of`)."""


class Preparation:
    """N × H × W × 3 BGR bytes on a device → N × 3 × H × W RGB of 0–1 there, normalised where asked for."""

    def __init__(self, device: Any, *, half: bool, channels_last: bool, normalise: Metadata | None) -> None:
        """`channels_last`: the memory's order, in which tensor cores compute half precision without
        turning anything round. `normalise`: subtract its mean, divide by its standard deviation."""
        import torch

        self._type = torch.float16 if half else torch.float32
        self._order = torch.channels_last if channels_last else torch.contiguous_format

        def constant(values: Triple) -> Any:
            return torch.tensor(values, dtype=self._type, device=device).view(1, 3, 1, 1)

        # Made once: a copy from the host cannot be part of a CUDA graph.
        self._mean = self._std = None
        if normalise is not None:
            self._mean, self._std = constant(normalise.mean), constant(normalise.std)

    def __call__(self, batch: Any) -> Any:
        pictures = batch.flip(3).permute(0, 3, 1, 2)
        pictures = pictures.to(dtype=self._type, memory_format=self._order).div_(255)
        return pictures if self._mean is None else (pictures - self._mean) / self._std


def first_of(output: Any) -> Any:
    """The tensor that counts: networks outside of an export give what training needs beside it."""
    return output[0] if isinstance(output, list | tuple) else output


def surest(output: Any) -> Any:
    """N × anchors: the confidence of each anchor's surest class; `output` is N × (4 + classes) × anchors."""
    return output[:, 4:].amax(1).float()


def fetched(output: Any, confidence: Any | None, least: float) -> list[Floats]:
    """An array per picture, on the host in float32.

    With a `confidence` (what `surest` gave) only the anchors that reach `least`: (4 + classes) × K.
    """
    if confidence is None:
        return list(output.float().cpu().numpy())
    import torch

    found = (confidence >= least).nonzero()
    rows = output.transpose(1, 2)[found[:, 0], found[:, 1]].float()
    # One copy for all pictures of the batch; the last column says whose row it is.
    table = torch.cat((rows, found[:, :1].float()), 1).cpu().numpy()
    bounds = np.searchsorted(table[:, -1], np.arange(len(output) + 1))
    return [_columns(table[bounds[i] : bounds[i + 1], :-1]) for i in range(len(output))]


def _columns(rows: Floats) -> Floats:
    """K × (4 + classes) turned round; never with the six columns by which rows of boxes are known."""
    if len(rows) == _ROWS_OF_BOXES:
        rows = np.concatenate((rows, np.full((1, rows.shape[1]), -1, np.float32)))
    return np.ascontiguousarray(rows.T)


def padded(batch: Sequence[Any], count: int) -> list[Any]:
    """`batch` and its last picture again until there are `count`."""
    return [*batch, *[batch[-1]] * (count - len(batch))]
