import json
from pathlib import Path
from typing import Any

import av
import pytest

from demo.render_clips import FOLDER, SCRIPTS, truth_sidecar

CLIPS = sorted(SCRIPTS)


@pytest.fixture(scope="module", params=CLIPS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sidecar(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_every_clip_is_there_and_small() -> None:
    assert sorted(path.stem for path in Path(FOLDER).glob("*.mp4")) == CLIPS
    assert all(path.stat().st_size <= 3_000_000 for path in Path(FOLDER).glob("*.mp4"))


def test_the_video_is_what_streaming_needs(name: str) -> None:
    truth = sidecar(name)
    with av.open(str(FOLDER / f"{name}.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (1280, 720)
        assert stream.average_rate == truth["fps"]
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == truth["frames"]
    assert all(packets[k].is_keyframe for k in range(0, len(packets), truth["fps"]))
    assert [packet.pts for packet in packets] == [packet.dts for packet in packets]


def test_the_sidecar_tells_the_script(name: str) -> None:
    clip, truth = SCRIPTS[name], sidecar(name)
    assert truth["frames"] == clip.frames
    assert [(c["brand"], c["body_type"]) for c in truth["cars"]] == [
        (v.brand, v.body_type) for v in clip.visits
    ]
    for car in truth["cars"]:
        assert 0 < car["first_frame"] < car["last_frame"] < clip.frames - 1


def test_cars_are_visible_from_first_to_last_frame(name: str) -> None:
    clip, truth = SCRIPTS[name], sidecar(name)
    car = truth["cars"][0]
    assert clip.frame(car["first_frame"]).cars[0].visible
    assert not clip.frame(car["first_frame"] - 1).cars[0].visible
    assert not clip.frame(car["last_frame"] + 1).cars[0].visible


def test_a_sidecar_from_known_frames() -> None:
    clip = SCRIPTS["dusk-visit"]
    truth = truth_sidecar(clip, [[5, 6, 9], [40, 41]])
    assert [(c["first_frame"], c["last_frame"]) for c in truth["cars"]] == [(5, 9), (40, 41)]
