import socket
from types import SimpleNamespace

import pynvml
import pytest

from siwatsystem import gpus
from siwatsystem.analysis.app_metrics import AppMeter, allocated
from siwatsystem.deepstream.messages import app_message, encode


def test_gpus_are_those_that_the_environment_names():
    assert allocated({}) is None
    assert allocated({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert allocated({"CUDA_VISIBLE_DEVICES": "0, 3"}) == [0, 3]
    assert allocated({"CUDA_VISIBLE_DEVICES": "GPU-5ebe9c0d"}) == []


def test_it_tells_what_it_uses_and_how_fast_its_slots_are():
    meter = AppMeter([])
    sum(number * number for number in range(300_000))
    told = meter.read("m1", [12.5, 0.0])
    assert app_message(encode(told)) == told
    assert told.request_id == "m1"
    assert told.ram_mb > 10
    assert told.cpu_percent > 0
    assert told.streams is not None
    assert [(one.stream_id, one.fps) for one in told.streams] == [(0, 12.5), (1, 0.0)]
    assert (told.gpus, told.gpu_percent, told.vram_mb) == (None, None, None)


def test_each_gpu_that_it_was_given_is_told_and_in_all_the_busiest(monkeypatch: pytest.MonkeyPatch):
    used = {0: (10, 1), 1: (95, 2), 2: (40, 4)}
    monkeypatch.setattr(gpus, "count", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda number: f"GPU-{number}")
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetUtilizationRates", lambda number: SimpleNamespace(gpu=used[number][0])
    )
    monkeypatch.setattr(
        pynvml,
        "nvmlDeviceGetMemoryInfo",
        lambda number: SimpleNamespace(used=used[number][1] * 2**30, total=8 * 2**30),
    )
    told = AppMeter([0, 2]).read(None, [])
    assert app_message(encode(told)) == told
    assert told.gpus is not None
    assert [(one.uuid, one.host) for one in told.gpus] == [
        ("GPU-0", socket.gethostname()),
        ("GPU-2", socket.gethostname()),
    ]
    assert [(one.gpu, one.gpu_percent, one.vram_mb, one.vram_total_mb) for one in told.gpus] == [
        (0, 10.0, 1024.0, 8192.0),
        (2, 40.0, 4096.0, 8192.0),
    ]
    assert (told.gpu_percent, told.vram_mb) == (40.0, 5120.0)
    # Where nobody said which, all are its own.
    assert AppMeter(None).read(None, []).gpu_percent == 95.0


def test_a_gpu_whose_driver_fails_is_none(monkeypatch: pytest.MonkeyPatch):
    def fails(_: object) -> object:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(gpus, "count", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", fails)
    told = AppMeter(None).read("m1", [0.0])
    assert (told.gpus, told.gpu_percent, told.vram_mb) == (None, None, None)
    assert told.ram_mb > 10
