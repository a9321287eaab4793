"""TensorRT: engines on an NVIDIA GPU, built here from weights or brought as `.engine` files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.devices import has_tensorrt, use_cuda
from siwatsystem.runtime.engine_header import metadata_of, read_header
from siwatsystem.runtime.gpu_groups import SideBySide, threads_for_gpu
from siwatsystem.runtime.metadata import Described, Metadata
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.replays import BATCHES, Outputs, Replays, undisturbed
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.task import task_of
from siwatsystem.runtime.tensors import Preparation, fetched, padded, surest


class TensorRTBackend(Described):
    """An engine on the first GPU. Its precision is the one it was built in."""

    runtime = "tensorrt"
    concurrency = 1

    def __init__(
        self,
        path: Path,
        settings: RuntimeSettings,
        precision: Precision = "exact",
        metadata: Metadata | None = None,
    ) -> None:
        """Load `path`; without `metadata` its header says what it is. Raises ModelInvalid, also where
        TensorRT or a GPU is missing."""
        values, start = read_header(path)
        self.metadata = metadata_of(values) if metadata is None else metadata
        self.precision: Precision = precision
        if not has_tensorrt():
            raise ModelInvalid(f"{path.name} needs tensorrt, which is not installed")
        if not use_cuda(settings):
            raise ModelInvalid(f"{path.name} needs an NVIDIA GPU")
        silence()
        import torch

        device: Any = torch.device("cuda:0")
        self._replays = Replays(self._compute, device, path.name)
        with path.open("rb") as stream, undisturbed:
            stream.seek(start)
            self._engine = _Engine(stream.read(), path.name, device)
        self.batch_size = min(self._engine.most, BATCHES[-1])
        self._task = task_of(self.metadata)
        self._boxes = self.task == "detect" and not self.metadata.end2end
        classifies = self.task == "classify"
        self._prepare = Preparation(
            device,
            half=self._engine.half,
            channels_last=False,
            normalise=self.metadata if classifies else None,
        )
        self._hands = SideBySide(path.stem, threads_for_gpu())

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture, in order. Raises RuntimeError where TensorRT fails."""
        return self._hands.infer(self._task, pictures, self.forward, self.batch_size)

    def close(self) -> None:
        self._replays.close()
        self._hands.close()
        self._engine.close()

    def forward(self, pictures: Sequence[Image], least: float) -> list[Floats]:
        """The engine's output for pictures of one size (H × W × 3 BGR), on the host; of a detector
        only the anchors that reach the confidence `least`."""
        count = len(pictures)
        with self._replays.busy():
            outputs = self._replays(padded(pictures, max(count, self._engine.least)))
            output, *confidence = (part[:count] for part in outputs)
            return fetched(output, confidence[0] if confidence else None, least)

    def _compute(self, batch: Any) -> Outputs:
        output = self._engine(self._prepare(batch), self._replays.stream)
        # Six columns are boxes already, of an engine with the suppression built in.
        return (output, surest(output)) if self._boxes and output.shape[-1] != 6 else (output,)


class _Engine:
    """A deserialised engine with one context; one thread at a time."""

    def __init__(self, serialised: bytes, name: str, device: Any) -> None:
        """Raises ModelInvalid, also for what another version or another GPU's TensorRT has built."""
        import tensorrt  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
        import torch

        trt: Any = tensorrt
        torch.cuda.init()
        self._device = device
        # Held as long as the engine: TensorRT keeps no reference of its own.
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(serialised)
        context = None if engine is None else engine.create_execution_context()
        if engine is None or context is None:
            raise ModelInvalid(
                f"{name}: TensorRT {trt.__version__} cannot load it on this GPU; engines fit only the version"
                " and the kind of GPU that they were built with"
            )
        self._engine: Any = engine
        self._context: Any = context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [one for one in names if engine.get_tensor_mode(one) == trt.TensorIOMode.INPUT]
        types = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
        kinds = {one: types.get(engine.get_tensor_dtype(one)) for one in names}
        if len(inputs) != 1 or None in kinds.values():
            raise ModelInvalid(f"{name}: takes {len(inputs)} inputs, or numbers that are no floats")
        self._input: str = inputs[0]
        self._outputs = {one: kinds[one] for one in names if one != self._input}
        self.half = kinds[self._input] == torch.float16
        # Fewest and most pictures of one call.
        self.least, self.most = self._batches()

    def __call__(self, pictures: Any, stream: Any) -> Any:
        """The first output for N × 3 × H × W pictures, computed on `stream`. Raises RuntimeError."""
        import torch

        context = self._context
        pictures = pictures.contiguous()
        if not context.set_input_shape(self._input, tuple(pictures.shape)):
            raise RuntimeError(f"the engine was not built for pictures of shape {tuple(pictures.shape)}")
        context.set_tensor_address(self._input, pictures.data_ptr())
        made: list[Any] = []
        for name, kind in self._outputs.items():
            shape = tuple(context.get_tensor_shape(name))
            made.append(torch.empty(shape, dtype=kind, device=self._device))
            context.set_tensor_address(name, made[-1].data_ptr())
        if not context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT failed to run the engine")
        return made[0]

    def _batches(self) -> tuple[int, int]:
        fixed, *_ = self._engine.get_tensor_shape(self._input)
        if fixed != -1:
            return fixed, fixed
        least, _, most = (shape[0] for shape in self._engine.get_tensor_profile_shape(self._input, 0))
        return least, most

    def close(self) -> None:
        self._context = self._engine = None
