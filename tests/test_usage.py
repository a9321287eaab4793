from types import SimpleNamespace

import pynvml
import pytest

from siwatsystem.usage import RETRY_SEC, UsageMeter


def test_usages_are_percentages_and_a_missing_gpu_is_none():
    meter = UsageMeter()
    for usage in (meter.read(), meter.read()):
        assert 0 <= usage.cpu <= 100
        assert 0 < usage.memory <= 100
        for value in (usage.gpu, usage.gpu_memory):
            assert value is None or 0 <= value <= 100


def test_a_gpu_that_fails_in_passing_is_read_again_a_minute_later(monkeypatch: pytest.MonkeyPatch):
    now, broken, started = [100.0], [False], [0]

    def start() -> None:
        started[0] += 1

    def rates(_: object) -> SimpleNamespace:
        if broken[0]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return SimpleNamespace(gpu=40)

    monkeypatch.setattr(pynvml, "nvmlInit", start)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", rates)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(used=1, total=4))
    meter = UsageMeter(lambda: now[0])
    usage = meter.read()
    assert (usage.gpu, usage.gpu_memory) == (40, 25)
    broken[0] = True
    assert meter.read().gpu is None
    broken[0] = False
    now[0] += RETRY_SEC - 1
    assert meter.read().gpu is None
    assert started[0] == 1
    now[0] += 1
    assert meter.read().gpu == 40
    assert started[0] == 2
