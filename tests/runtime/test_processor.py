import os
from pathlib import Path

import pytest

from siwatsystem.runtime import processor, silence

INTEL, AMD = "GenuineIntel", "AuthenticAMD"


def told(folder: Path, flags: str, vendor: str = INTEL, level: int = 32) -> Path:
    path = folder / "cpuinfo"
    lines = [
        f"vendor_id\t: {vendor}",
        "model name\t: EPYC or Xeon",
        f"cpuid level\t: {level}",
        f"flags\t\t: fpu {flags}",
        "vmx flags\t: amx_bf16 avx512_bf16",
    ]
    path.write_text("".join(f"processor\t: {number}\n" + "\n".join(lines) + "\n\n" for number in (0, 1)))
    return path


@pytest.mark.parametrize(
    ("vendor", "flags", "level", "bf16", "broken"),
    [
        (INTEL, "avx2 avx512f", 22, False, False),
        (INTEL, "avx512_bf16", 32, False, False),
        (INTEL, "avx512_bf16 amx_bf16 amx_tile", 0x20, True, False),
        (INTEL, "avx512_bf16 amx_bf16 amx_tile", 0x1E, True, False),
        (INTEL, "avx512_bf16 amx_bf16 amx_tile", 0x1C, False, True),
        (AMD, "avx512_bf16", 16, True, False),
        (AMD, "avx2", 16, False, False),
    ],
)
def test_bf16_is_for_those_who_are_quicker_in_it(
    tmp_path: Path, vendor: str, flags: str, level: int, bf16: bool, broken: bool
) -> None:
    cpuinfo = told(tmp_path, flags, vendor, level)
    assert (processor.has_bf16(cpuinfo), processor.has_broken_amx(cpuinfo)) == (bf16, broken)
    assert processor.processor_name(cpuinfo) == "EPYC or Xeon"


@pytest.mark.parametrize("text", ["", "processor\t: 0\nFeatures\t: fp asimd bf16\n"], ids=["nothing", "ARM"])
def test_what_tells_no_flags_has_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    for cpuinfo in (path, tmp_path / "absent"):
        assert not processor.has_bf16(cpuinfo)
        assert not processor.has_broken_amx(cpuinfo)
        assert processor.processor_name(cpuinfo) == ""


@pytest.mark.parametrize("broken", [True, False])
def test_the_libraries_do_without_what_is_broken(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    monkeypatch.setattr(silence, "has_broken_amx", lambda: broken)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    silence.silence()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == ("AVX512_CORE_FP16" if broken else None)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    silence.silence()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2", "as the operator wants it"
