"""What an event costs the state core, however much waits."""

import time

import pytest

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.events import (
    Cancel,
    Launch,
    Launched,
)
from siwatsystem.deepstream.states import Stage
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    FileDone,
    ProcessingStarted,
)
from tests.deepstream.by_hand import CONFIG, Bench


def _busy(queued: int, single: bool) -> Bench:
    """20 apps with 8 slots each, and so many files queued: in one request, or in one each."""
    bench = Bench(streams=8, connected=False)
    for number in range(20):
        name = "a" if number == 0 else f"app{number}"
        if number:
            bench.do(Launch(f"l{number}", Spec(CONFIG, 8), name))
            bench.do(Launched(name, 1, number))
        bench.ready(number + 1, name=name, streams=8)
    for camera in range(160):
        bench.start(camera=1000 + camera, count=1)
    bench.do(Cancel("x", bench.app.slots[0].current.id))
    bench.says(AnalysisInterrupted, camera=bench.app.slots[0].current.camera_id, status="ok")
    if single:
        for _ in range(queued):
            bench.start(camera=3, count=1, stream_id=0, instance_id="a")
    else:
        bench.start(camera=3, count=queued, stream_id=0, instance_id="a")
    return bench


def _cost(bench: Bench, single: bool, messages: int = 60) -> float:
    """Least seconds for a file to be begun and done (and, if it is alone in its request, for the next)."""
    costs: list[float] = []
    if not single:
        bench.says(AnalysisStarted, status="ok")
    for number in range(messages):
        began = time.process_time()  # of this process: other load on the machine does not count
        if single:
            bench.says(AnalysisStarted, status="ok")
        file_id = 0 if single else number
        bench.says(ProcessingStarted, file_id=file_id)
        bench.says(FileDone, file_id=file_id)
        if single:
            bench.says(AnalysisComplete)
        costs.append(time.process_time() - began)
        current = bench.app.slots[0].current
        assert current is not None
        assert current.stage in (Stage.ASKED, Stage.ACCEPTED)
    return sorted(costs)[len(costs) // 4]


@pytest.mark.parametrize("single", [False, True], ids=["one request", "a request each"])
def test_a_message_costs_the_same_whatever_waits(single: bool):
    few, many = _busy(100, single), _busy(10_000, single)
    ratio = _cost(many, single) / _cost(few, single)
    assert many.request("r161").unfinished + len(many.app.slots[0].line) > 1000
    assert ratio < 3, f"{ratio:.1f} times as much"
