"""torch: weights as they are, on an NVIDIA GPU or a CPU; half precision on a GPU when *fast*."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siwatsystem.config import RuntimeSettings
from siwatsystem.cores import cores_under_quota
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.detect import Detect
from siwatsystem.runtime.devices import use_cuda
from siwatsystem.runtime.gpu_groups import SideBySide, threads_for_gpu
from siwatsystem.runtime.metadata import Described
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.replays import BATCHES, CudaRecorder, Outputs, Recorder, Replays, remembered
from siwatsystem.runtime.task import task_of
from siwatsystem.runtime.tensors import Preparation, fetched, first_of, surest
from siwatsystem.runtime.weights import load_checkpoint

GPU_BATCH = BATCHES[-1]
_USUAL_PICTURE = 1080, 1920


class TorchNetwork(Described):
    """A network of torch on its device: bytes of pictures in, tensors out."""

    def __init__(self, weights: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `weights` (.pt). Raises ModelRefused, ModelInvalid, FileNotFoundError."""
        network, self.metadata = load_checkpoint(weights)
        import torch

        cuda = use_cuda(settings)
        if precision == "fast" and not cuda:
            raise ModelInvalid("torch computes in half precision on a GPU only")
        if cuda and not torch.cuda.is_available():
            raise ModelInvalid("there is an NVIDIA GPU, but this torch cannot use it")
        threads = settings.threads or cores_under_quota()
        if threads and not cuda:
            torch.set_num_threads(threads)
        # Named precision: without this convolutions of float32 are computed in TF32 on a GPU.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        fast = precision == "fast"
        self.precision: Precision = precision
        self.cuda = cuda
        self.device: Any = torch.device("cuda:0" if cuda else "cpu")
        network = _choose_head(network).fuse(verbose=False).eval().to(self.device)
        self.network: Any = network.half() if fast else network.float()
        if fast:
            self.network = self.network.to(memory_format=torch.channels_last)
        for parameter in self.network.parameters():
            parameter.requires_grad = False
        classifies = self.task == "classify"
        self.prepare = Preparation(
            self.device, half=fast, channels_last=fast, normalise=self.metadata if classifies else None
        )
        if cuda:
            # Weights were brought here on another stream than the one that computes. (Waiting for the
            # whole GPU would break what another thread is recording.)
            torch.cuda.current_stream(self.device).synchronize()

    def usual_size(self) -> tuple[int, int]:
        """Height and width of the network's input for the picture that most cameras send."""
        task = task_of(self.metadata)
        return task.plan(*_USUAL_PICTURE).size if isinstance(task, Detect) else self.input_size

    def replays(self, compute: Any, name: str) -> Replays:
        """`compute` on this device, on a GPU from CUDA graphs where they can be recorded."""
        made: list[Replays] = []
        recorder: Recorder | None = None
        if self.cuda:
            exact = self.precision == "exact"
            recorder = CudaRecorder(lambda: made[0].stream, exact, lambda: remembered(self.network))
        made.append(Replays(compute, self.device, name, recorder))
        return made[0]


class TorchBackend(TorchNetwork):
    """A network of torch. Pictures that need the same input size go through it together."""

    runtime = "torch"
    concurrency = 1

    def __init__(self, weights: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `weights` (.pt), on a GPU with the usual batches recorded.

        Raises ModelRefused, ModelInvalid, FileNotFoundError.
        """
        super().__init__(weights, settings, precision)
        self.batch_size = GPU_BATCH if self.cuda else 1
        self._task = task_of(self.metadata)
        self._boxes = self.task == "detect" and not self.metadata.end2end
        self._hands = SideBySide(weights.stem, threads_for_gpu() if self.cuda else 0)
        self._replays = self.replays(self._compute, weights.name)
        if self.cuda:
            self._replays.warm_up(self.usual_size())

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture, in order. Raises RuntimeError where torch fails."""
        return self._hands.infer(self._task, pictures, self.forward, GPU_BATCH)

    def close(self) -> None:
        self._replays.close()
        self._hands.close()
        self.network = None

    @property
    def recorded(self) -> int:
        """How many sizes and batches are replayed from CUDA graphs."""
        return self._replays.recorded

    def forward(self, pictures: Sequence[Image], least: float) -> list[Floats]:
        """The network's output for pictures of one size (H × W × 3 BGR), on the host; of a detector
        only the anchors that reach the confidence `least`."""
        with self._replays.busy():
            output, *confidence = self._replays(pictures)
            return fetched(output, confidence[0] if confidence else None, least)

    def _compute(self, batch: Any) -> Outputs:
        output = first_of(self.network(self.prepare(batch)))
        return (output, surest(output)) if self._boxes else (output,)


def _choose_head(network: Any) -> Any:
    """As `predict` does by default: the head whose boxes go through suppression, where there are two."""
    if hasattr(network, "end2end"):
        network.end2end = False
    return network
