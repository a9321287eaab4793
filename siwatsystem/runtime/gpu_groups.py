"""Pictures of different sizes through a network on a GPU: prepared side by side, computed by size.

On a GPU the network is done before one thread has prepared the next batch, so pictures are scaled
on several threads (OpenCV and Pillow let others run meanwhile).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from siwatsystem.cores import usable_cores
from siwatsystem.detections import Prediction
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.task import ModelTask

MOST_THREADS = 8

Forward = Callable[[Sequence[Image], float], list[Floats]]
"""Pictures of one size and the least confidence of interest → the network's output for each."""


class SideBySide:
    """Threads that prepare pictures; none on a processor, where the network needs them all."""

    def __init__(self, name: str, threads: int = 0) -> None:
        """`threads`: 0 prepares on the caller's thread."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"prepare-{name}") if threads else None

    def infer(
        self, task: ModelTask, pictures: Sequence[Picture], forward: Forward, most: int
    ) -> list[Prediction]:
        """A prediction per picture, in order; at most `most` pictures of one size go into a call."""
        images = [picture.image for picture in pictures]
        many = self._pool is not None and len(images) > 1
        prepared = list(self._pool.map(task.prepare, images) if many else map(task.prepare, images))  # pyright: ignore[reportOptionalMemberAccess]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (tensor, _) in enumerate(prepared):
            groups.setdefault(tensor.shape, []).append(index)
        out: dict[int, Prediction] = {}
        for group in groups.values():
            for start in range(0, len(group), most):
                part = group[start : start + most]
                least = min(pictures[index].min_confidence for index in part)
                raws = forward([prepared[index][0] for index in part], least)
                for index, raw in zip(part, raws, strict=True):
                    out[index] = task.finish(raw, prepared[index][1], pictures[index].min_confidence)
        return [out[index] for index in range(len(pictures))]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def threads_for_gpu() -> int:
    """How many threads prepare pictures for one model on a GPU."""
    return min(MOST_THREADS, max(1, usable_cores() // 2))
