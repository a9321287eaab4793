"""How busy the machine is: four percentages, the GPU's from NVML where there is one."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

log = logging.getLogger(__name__)

RETRY_SEC = 60.0
"""Wait before GPUs that could not be read are looked for again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Percentages, 0–100; the GPU's are None without a GPU."""

    cpu: float
    memory: float
    gpu: float | None = None
    gpu_memory: float | None = None


class UsageMeter:
    """Reads the machine. With several GPUs the busiest counts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gpus: list[Any] | None = None
        self._retry_at = clock()
        self._failure = ""
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

        if self._gpus is None and self._clock() < self._retry_at:
            return None, None
        try:
            if self._gpus is None:
                self._gpus = _find_gpus()
            if not self._gpus:
                return None, None
            busy = max(float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) for gpu in self._gpus)
            memory = [pynvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in self._gpus]
            return busy, round(max(100.0 * int(part.used) / int(part.total) for part in memory), 1)
        except pynvml.NVMLError as error:
            # Each look again may fail alike; a machine without a GPU says so once.
            if self._failure != str(error):
                self._failure = str(error)
                log.info("GPUs cannot be read: %s", error)
            self._gpus = None
            self._retry_at = self._clock() + RETRY_SEC
            return None, None


def _find_gpus() -> list[Any]:
    """Handles of all GPUs. Raises NVMLError."""
    import pynvml

    pynvml.nvmlInit()
    return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
