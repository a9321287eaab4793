import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pynvml
import pytest

from siwatsystem.supervision import MOST_STUCK, Watched
from siwatsystem.usage import RETRY_SEC, STUCK_SEC, Usage, UsageMeter, UsageReader
from tests.servers import until


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


class Meters:
    """Each meter that is made reads as it is told: hangs until `go`, or answers."""

    def __init__(self) -> None:
        self.hangs, self.go = True, threading.Event()
        self.made: list[int] = []

    def make(self) -> UsageMeter:
        number = len(self.made)
        self.made.append(number)
        return cast(Any, SimpleNamespace(read=lambda: self._read(number)))

    def _read(self, number: int) -> Usage:
        if self.hangs:
            assert self.go.wait(30)
        return Usage(float(number), 1.0)


def test_a_reading_that_hangs_is_given_up_and_thrown_away_when_it_comes_back():
    watched: list[Watched] = []
    meters = Meters()

    def watch(part: Watched) -> Any:
        watched.append(part)
        return watched.clear

    reader = UsageReader(0.01, watch, meters.make)
    assert 0 < reader.usage.memory <= 100
    reader.start()
    part = watched[0]
    until(lambda: meters.made == [0])
    now = time.monotonic()
    assert part.look(now) is None
    assert part.look(now + STUCK_SEC + 1) == "a reading takes longer than 30 s"
    assert part.restart()
    until(lambda: meters.made == [0, 1])
    meters.hangs = False
    assert part.restart()
    until(lambda: reader.usage.cpu == 2.0)
    meters.go.set()
    until(lambda: sum(thread.name == "usage" for thread in threading.enumerate()) == 1)
    assert reader.usage.cpu == 2.0
    assert part.look(time.monotonic()) is None
    reader.close()
    assert watched == []
    until(lambda: not any(thread.name == "usage" for thread in threading.enumerate()))


def test_only_so_many_readings_may_hang():
    watched: list[Watched] = []
    meters = Meters()

    def watch(part: Watched) -> Any:
        watched.append(part)
        return watched.clear

    reader = UsageReader(0.01, watch, meters.make)
    reader.start()
    said = [watched[0].restart() for _ in range(MOST_STUCK + 2)]
    assert said == [True] * (MOST_STUCK - 1) + [False] * 3
    meters.go.set()
    until(lambda: sum(thread.name == "usage" for thread in threading.enumerate()) == 1)
    assert watched[0].restart()
    reader.close()
