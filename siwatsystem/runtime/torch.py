"""torch: weights as they are, on an NVIDIA GPU or a CPU; half precision on a GPU when *fast*."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.devices import use_cuda
from siwatsystem.runtime.groups import infer_grouped
from siwatsystem.runtime.metadata import Described
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.task import task_of
from siwatsystem.runtime.weights import load_checkpoint

GPU_BATCH = 16


class TorchBackend(Described):
    """A network of torch. Pictures that need the same input size go through it together."""

    runtime = "torch"
    concurrency = 1

    def __init__(self, weights: Path, settings: RuntimeSettings, precision: Precision = "exact") -> None:
        """Load `weights` (.pt). Raises ModelRefused, ModelInvalid, FileNotFoundError."""
        network, self.metadata = load_checkpoint(weights)
        import torch

        cuda = use_cuda(settings)
        if precision == "fast" and not cuda:
            raise ModelInvalid("torch computes in half precision on a GPU only")
        if cuda and not torch.cuda.is_available():
            raise ModelInvalid("there is an NVIDIA GPU, but this torch cannot use it")
        if settings.threads and not cuda:
            torch.set_num_threads(settings.threads)
        # Named precision: without this convolutions of float32 are computed in TF32 on a GPU.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.precision: Precision = precision
        self.batch_size = GPU_BATCH if cuda else 1
        self._device: Any = torch.device("cuda:0" if cuda else "cpu")
        self._task = task_of(self.metadata)
        network = _choose_head(network).fuse(verbose=False).eval().to(self._device)
        self.network: Any = network.half() if precision == "fast" else network.float()
        for parameter in self.network.parameters():
            parameter.requires_grad = False

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture, in order. Raises RuntimeError where torch fails."""
        return infer_grouped(self._task, pictures, self.forward)

    def close(self) -> None:
        self.network = None

    def forward(self, batch: Image, least: float) -> list[Floats]:
        """The network's output for N × H × W × 3 BGR pictures, on the CPU."""
        import torch

        with torch.inference_mode():
            pictures = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).contiguous().flip(1)
            pictures = (pictures.half() if self.precision == "fast" else pictures.float()).div_(255)
            if self.task == "classify":
                pictures = self._normalised(pictures)
            output = self.network(pictures)
            output = (output[0] if isinstance(output, list | tuple) else output).float()
            if self.task == "classify" or self.metadata.end2end or self._device.type == "cpu":
                return list(output.cpu().numpy())
            # Only what can become a box leaves the GPU.
            seen = output[:, 4:].amax(1) >= least
            return [raw[:, mask].cpu().numpy() for raw, mask in zip(output, seen, strict=True)]

    def _normalised(self, pictures: Any) -> Any:
        import torch

        shape = (1, 3, 1, 1)
        kind: dict[str, Any] = {"dtype": pictures.dtype, "device": self._device}
        mean = torch.tensor(self.metadata.mean, **kind).view(shape)
        return (pictures - mean) / torch.tensor(self.metadata.std, **kind).view(shape)


def _choose_head(network: Any) -> Any:
    """As `predict` does by default: the head whose boxes go through suppression, where there are two."""
    if hasattr(network, "end2end"):
        network.end2end = False
    return network
