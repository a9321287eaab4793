"""What this machine can compute on, found out without importing an inference library."""

import ctypes
import functools
import importlib.util

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import InvalidSetting

# Of the driver's CUdevice_attribute.
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76


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
def gpu_name() -> str:
    """The first GPU's name and compute capability, such as `NVIDIA H200 9.0`; empty without one."""
    if cuda_devices() == 0:
        return ""
    driver = ctypes.CDLL("libcuda.so.1")
    device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return ""
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    return f"{name.value.decode(errors='replace')} {major.value}.{minor.value}"


def has_tensorrt() -> bool:
    """Whether TensorRT's Python package is installed."""
    return importlib.util.find_spec("tensorrt") is not None
