"""How busy the machine is: four percentages, the GPU's from NVML where there is one."""

import logging
from dataclasses import dataclass
from typing import Any

import psutil

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Usage:
    """Percentages, 0–100; the GPU's are None without a GPU."""

    cpu: float
    memory: float
    gpu: float | None = None
    gpu_memory: float | None = None


class UsageMeter:
    """Reads the machine. With several GPUs the busiest counts."""

    def __init__(self) -> None:
        self._gpus: list[Any] | None = None
        psutil.cpu_percent(interval=None)  # the first call only sets the mark that the next one measures from

    def read(self) -> Usage:
        """The usage since the last call; never raises."""
        gpu, gpu_memory = self._read_gpus()
        return Usage(
            cpu=round(min(psutil.cpu_percent(interval=None), 100.0), 1),
            memory=round(psutil.virtual_memory().percent, 1),
            gpu=gpu,
            gpu_memory=gpu_memory,
        )

    def _read_gpus(self) -> tuple[float | None, float | None]:
        import pynvml

        try:
            if self._gpus is None:
                pynvml.nvmlInit()
                count: int = pynvml.nvmlDeviceGetCount()
                self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            if not self._gpus:
                return None, None
            busy = max(float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) for gpu in self._gpus)
            memory = [pynvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in self._gpus]
            return busy, round(max(100.0 * int(part.used) / int(part.total) for part in memory), 1)
        except pynvml.NVMLError as error:
            if self._gpus is None:
                log.info("no GPU: %s", error)
            self._gpus = []
            return None, None
