"""A network's calls on a GPU, recorded as CUDA graphs for the batches that come often.

A network of some hundred small kernels is limited by the processor that starts them, one after the
other from Python; a recorded call starts them all at once. A recording holds for one picture size
and one batch size, so batches are filled up to the next of `BATCHES`. What cannot be recorded (now, or
ever), or comes too seldom, is computed as it is: slower, with the same result.

`torch.compile` would fuse kernels beside that, but it takes minutes per size and a C compiler on the
machine, which an image for production does not have.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from siwatsystem.frames import Image

logger = logging.getLogger(__name__)

BATCHES = (1, 2, 4, 8, 16)
"""The batches that are recorded; larger ones are computed in parts."""
MOST_RECORDINGS = 40
"""Of one network: eight picture sizes with all their batches."""
RECORDED_AT = 3
"""How often a size and batch must have come; a camera that is looked at once is not worth it."""
_FAST_TOLERANCE = 0.02
"""Part of the greatest output by which a recording in half precision may differ from the call itself."""

_MOST_FAILURES = 3
"""Failed recordings after which a network is left without: another library may have disturbed one."""

undisturbed = threading.Lock()
"""Only one recording may be under way in a process, and nothing may wait for the whole GPU meanwhile."""

Outputs = tuple[Any, ...]
Compute = Callable[[Any], Outputs]
"""N × H × W × 3 bytes on the device → tensors whose first side is N, there too."""
Size = tuple[int, int]


@dataclass(frozen=True)
class Recording:
    """What was recorded: bytes put into `pictures`, then `replay`, then `outputs` hold the result."""

    pictures: Any
    outputs: Outputs
    replay: Callable[[], None]
    held: Sequence[Any] = ()
    """Tensors that the recording reads and nobody else need keep."""


Recorder = Callable[[Compute, Any], Recording]
"""Records a call on such pictures (`Recording.pictures`). Raises RuntimeError where that fails."""


class Replays:
    """Calls of one network on one device, by one thread at a time; a context of its own for each call:

    `with replays.busy(): outputs = replays(pictures)`, and outputs are read inside of it, before the
    next call.
    """

    def __init__(self, compute: Compute, device: Any, name: str, recorder: Recorder | None = None) -> None:
        """`name` is for the log. Without a `recorder` every call is computed as it is."""
        import torch

        self._compute = compute
        self._device = device
        self._name = name
        self._recorder = recorder
        self._recordings: dict[tuple[int, Size], Recording] = {}
        self._seen: Counter[tuple[int, Size]] = Counter()
        self._failures = 0
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._staging: Any = None

    @property
    def stream(self) -> Any:
        """The CUDA stream on which everything runs; None on a processor."""
        return self._stream

    def busy(self) -> AbstractContextManager[Any]:
        """Around every call, on whatever thread it is."""
        import torch

        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self._stream is not None:
            stack.enter_context(torch.cuda.stream(self._stream))
        return stack

    def __call__(self, pictures: Sequence[Image]) -> Outputs:
        """The outputs for pictures of one size (H × W × 3, 8 bits); more than the greatest of `BATCHES`
        are not recorded. Raises RuntimeError where the device fails.
        """
        count = len(pictures)
        height, width = pictures[0].shape[:2]
        recording = None
        # An engine may have been built for one size of batch, greater than any that is recorded.
        if count <= BATCHES[-1]:
            recording = self._recorded((_batch_for(count), (height, width)))
        if recording is None:
            return self._compute(self._uploaded(pictures))
        self._upload(pictures, recording.pictures[:count])
        recording.replay()
        return tuple(output[:count] for output in recording.outputs)

    def warm_up(self, size: Size) -> None:
        """Record (or run once) every batch of pictures of `size`, so that no frame waits for that."""
        with self.busy():
            for batch in BATCHES:
                key = (batch, size)
                self._seen[key] = RECORDED_AT
                if self._recorded(key, wait=True) is None:
                    self._compute(self._noise(key))
            self._synchronise()

    def close(self) -> None:
        """Give back what is recorded. Nothing may be called any more."""
        with self.busy():
            self._synchronise()
        self._recordings.clear()
        self._staging = None
        self._recorder = None

    @property
    def recorded(self) -> int:
        """How many sizes and batches are recorded."""
        return len(self._recordings)

    def _recorded(self, key: tuple[int, Size], wait: bool = False) -> Recording | None:
        """What is recorded, or is recorded now; `wait` also for others who record or load an engine."""
        found = self._recordings.get(key)
        if found is not None or self._recorder is None or len(self._recordings) >= MOST_RECORDINGS:
            return found
        self._seen[key] += 1
        # Frames must not wait for another model's engine, which takes seconds to load: later, then.
        if self._seen[key] < RECORDED_AT or not undisturbed.acquire(blocking=wait):
            return None
        del self._seen[key]
        try:
            recording = self._recorder(self._compute, self._noise(key))
        except RuntimeError as error:
            # Out of memory, or something in the network that waits for the processor.
            self._failures += 1
            if self._failures == _MOST_FAILURES:
                reason = str(error).strip().splitlines() or ["no reason given"]
                logger.warning("%s is not replayed from CUDA graphs: %s", self._name, reason[0][:200])
                self._recorder = None
            return None
        finally:
            undisturbed.release()
        self._recordings[key] = recording
        return recording

    def _noise(self, key: tuple[int, Size]) -> Any:
        import torch

        batch, size = key
        noise = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
        return torch.from_numpy(noise).to(self._device)

    def _uploaded(self, pictures: Sequence[Image]) -> Any:
        import torch

        if self._stream is None:
            return torch.from_numpy(np.stack(pictures)).to(self._device)
        target = torch.empty((len(pictures), *pictures[0].shape), dtype=torch.uint8, device=self._device)
        self._upload(pictures, target)
        return target

    def _upload(self, pictures: Sequence[Image], target: Any) -> None:
        """Copy into `target`, on a GPU through memory that the driver need not copy once more.

        That memory is free again at the next call, because whoever read the outputs has waited.
        """
        import torch

        if self._staging is None or self._staging.numel() < target.numel():
            pinned = self._stream is not None
            self._staging = torch.empty(target.numel(), dtype=torch.uint8, pin_memory=pinned)
        staged = self._staging[: target.numel()].view(target.shape)
        np.stack(pictures, out=staged.numpy())
        target.copy_(staged, non_blocking=True)

    def _synchronise(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


class CudaRecorder:
    """Records calls as CUDA graphs and holds each against the call itself before it is used."""

    def __init__(self, replays_stream: Callable[[], Any], exact: bool, kept: Callable[[], list[Any]]) -> None:
        """`replays_stream` gives the stream; `exact`: a recording must give the very same numbers;
        `kept` gives the tensors that the network made and remembers for the size that it was given last."""
        import torch

        self._stream = replays_stream
        self._exact = exact
        self._kept = kept
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute, pictures: Any) -> Recording:
        import torch

        # The first calls choose algorithms, take memory, and make what depends on the size.
        for _ in range(2):
            compute(pictures)
        wanted = [output.clone() for output in compute(pictures)]
        graph = torch.cuda.CUDAGraph()
        # Other models go on computing on other threads meanwhile.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream(), capture_error_mode="thread_local"
        ):
            outputs = compute(pictures)
        graph.replay()
        if not all(self._same(*pair) for pair in zip(outputs, wanted, strict=True)):
            raise RuntimeError("what was recorded gives other results than the call itself")
        return Recording(pictures, outputs, graph.replay, self._kept())

    def _same(self, output: Any, wanted: Any) -> bool:
        import torch

        if self._exact:
            return torch.equal(output, wanted)
        output, wanted = output.float(), wanted.float()
        return bool((output - wanted).abs().amax() <= _FAST_TOLERANCE * wanted.abs().amax())


def remembered(network: Any) -> list[Any]:
    """The tensors that a network's parts hold beside weights: anchors of the last size, for one."""
    import torch

    parts = [value for part in network.modules() for value in vars(part).values()]
    return [value for value in parts if isinstance(value, torch.Tensor)]


def _batch_for(count: int) -> int:
    return next(batch for batch in BATCHES if batch >= count)
