"""`bench.gpu` on a processor: that it runs and what it says, not how fast anything is."""

import json

import pytest

from bench import gpu, gpu_decode
from siwatsystem.runtime import devices

# torch and ultralytics warn about their own deprecations.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]


def test_models_and_streams_are_measured_on_a_processor_as_on_a_gpu():
    row = gpu.measured("cpu", seconds=0.3, repeats=1, streams=2, frames=3)
    assert (row.name, row.number) == ("gpu", 12)
    said = json.loads(json.dumps(row.as_dict()))
    first, second = said["measures"]
    assert first["name"] == "torch exact: frames/s"
    assert "decoded and analysed at 5 fps" in second["name"]
    assert first["value"]["median"] > 0
    figures = said["figures"]
    exact, streams = figures["torch exact"], figures["streams"]
    assert set(exact["runtimes"].values()) == {"torch"}
    assert set(exact["cuda_graphs"].values()) == {0}
    assert exact["pictures_per_frame"]["car_frontal_detection"] == pytest.approx(1, abs=0.35)
    assert exact["events"] > 0
    latency = exact["latency_at_80_percent"]
    assert 0 < latency["p50_ms"] <= latency["p99_ms"]
    ratio = exact["frames_per_sec"]["median"] / exact["bare_frames_per_sec"]["median"]
    assert ratio == pytest.approx(first["value"]["median"], rel=0.01)
    assert streams["decoded_by"] == "cpu"
    # Five frames are decoded for each that is analysed; each stream's first and last are not whole fives.
    assert streams["decoded_per_sec"] / streams["analysed_per_sec"] == pytest.approx(5, abs=4)
    assert figures["left_out"] == []


def test_a_stream_that_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no film")
    with pytest.raises(Exception, match="no video"):
        gpu_decode.streams_of(path, 2, 0.1, None)


@pytest.mark.skipif(devices.cuda_devices() > 0, reason="there is an NVIDIA GPU here")
def test_without_a_gpu_it_says_so():
    with pytest.raises(SystemExit, match="--device cpu"):
        gpu.main(["--device", "cuda"])
