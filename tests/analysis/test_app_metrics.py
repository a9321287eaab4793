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
