"""What this machine can compute on, found out without importing an inference library."""

import ctypes
import functools
from pathlib import Path

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import InvalidSetting

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def use_cuda(settings: RuntimeSettings) -> bool:
    """Whether models go on a GPU. Raises InvalidSetting where one is demanded and there is none."""
    if settings.device == "cpu":
        return False
    found = cuda_devices() > 0
    if settings.device == "cuda" and not found:
        raise InvalidSetting("runtime.device = 'cuda': no NVIDIA GPU can be used here ('auto' or 'cpu' work)")
    return found


@functools.cache
def cuda_devices() -> int:
    """How many NVIDIA GPUs the driver shows to this process (CUDA_VISIBLE_DEVICES counts)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


@functools.cache
def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor computes in bf16."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not _BF16_FLAGS.isdisjoint(line.split())
