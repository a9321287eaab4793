"""Pictures of different sizes through a network that takes batches of one size."""

from collections.abc import Callable, Sequence

import numpy as np

from siwatsystem.detections import Prediction
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.task import ModelTask

Forward = Callable[[Image, float], list[Floats]]
"""N × H × W × 3 pictures and the least confidence of interest → the network's output for each."""


def infer_grouped(task: ModelTask, pictures: Sequence[Picture], forward: Forward) -> list[Prediction]:
    """A prediction per picture, in order; those that need the same input size share a call."""
    prepared = [task.prepare(picture.image) for picture in pictures]
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (tensor, _) in enumerate(prepared):
        groups.setdefault(tensor.shape, []).append(index)
    out: dict[int, Prediction] = {}
    for group in groups.values():
        least = min(pictures[index].min_confidence for index in group)
        raws = forward(np.stack([prepared[index][0] for index in group]), least)
        for index, raw in zip(group, raws, strict=True):
            out[index] = task.finish(raw, prepared[index][1], pictures[index].min_confidence)
    return [out[index] for index in range(len(pictures))]
