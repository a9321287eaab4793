"""What an analysis app uses: its own CPU and memory, the GPUs it was given."""

import os
import socket
from collections.abc import Sequence
from typing import Any

import psutil

from siwatsystem import gpus
from siwatsystem.analysis.desk import said, timestamp
from siwatsystem.deepstream.fields import RequestId
from siwatsystem.deepstream.to_server import GpuUse, MetricsResponse, StreamSpeed


def allocated(environment: dict[str, str] | None = None) -> list[int] | None:
    """The GPUs that were given to this process, as the driver numbers them; None where nobody said."""
    named = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return None
    return [int(part) for one in named.split(",") if (part := one.strip()).isdecimal()]


class AppMeter:
    def __init__(self, gpus: Sequence[int] | None) -> None:
        self._gpus = gpus
        self._process = psutil.Process()
        self._process.cpu_percent(None)  # sets the mark that the next call measures from

    def read(self, request_id: RequestId | None, speeds: Sequence[float]) -> MetricsResponse:
        """`cpu_percent` of one core since the last call; over several GPUs the busiest, and all memory."""
        used = self._read_gpus()
        busy = [one.gpu_percent for one in used if one.gpu_percent is not None]
        memory = [one.vram_mb for one in used if one.vram_mb is not None]
        return said(
            MetricsResponse,
            request_id=request_id,
            cpu_percent=round(self._process.cpu_percent(None), 1),
            ram_mb=round(self._process.memory_info().rss / 2**20, 1),
            gpu_percent=max(busy, default=None),
            vram_mb=sum(memory) if memory else None,
            timestamp=timestamp(),
            gpus=used or None,
            streams=[StreamSpeed(stream_id=number, fps=fps) for number, fps in enumerate(speeds)],
        )

    def _read_gpus(self) -> list[GpuUse]:
        import pynvml

        try:
            # Without a driver that answers there are none; it keeps open what was opened once.
            return [_gpu(pynvml, number) for number in range(gpus.count()) if self._has(number)]
        except pynvml.NVMLError:
            return []

    def _has(self, number: int) -> bool:
        return self._gpus is None or number in self._gpus


def _gpu(nvml: Any, number: int) -> GpuUse:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuUse(
        gpu=number,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        host=socket.gethostname(),
        gpu_percent=float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        vram_mb=round(int(memory.used) / 2**20, 1),
        vram_total_mb=round(int(memory.total) / 2**20, 1),
    )
