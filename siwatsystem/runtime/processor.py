"""What this machine's processor can, by what the kernel tells of it."""

import functools
from pathlib import Path

_TILE_LEAF = 0x1E
"""The last leaf of CPUID that describes tiles."""


@functools.cache
def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the first processor calls itself; empty where it does not."""
    return _of_processor("model name", cpuinfo)


@functools.cache
def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor is quicker in bf16. Intel's are with tiles (AMX) only, others without, too."""
    flags = _of_processor("flags", cpuinfo).split()
    if _of_processor("vendor_id", cpuinfo) == "GenuineIntel":
        return "amx_bf16" in flags and not has_broken_amx(cpuinfo)
    return "avx512_bf16" in flags


@functools.cache
def has_broken_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor announces tiles (AMX) and hides what they are like, as Firecracker has it do:
    oneDNN then configures none, and its first use of one is a SIGILL."""
    if "amx_tile" not in _of_processor("flags", cpuinfo).split():
        return False
    level = _of_processor("cpuid level", cpuinfo)
    return level.isdecimal() and int(level) < _TILE_LEAF


def _of_processor(key: str, cpuinfo: Path) -> str:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
