"""Decoded frames of the demo's clips, in memory."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CLIPS = ROOT / "demo" / "clips"


def demo_frames(count: int) -> list[Any]:
    """`count` BGR frames of 1280×720 with cars on them, of all clips in turn."""
    clips = sorted(CLIPS.glob("*.mp4"))
    each = [_frames_of(clip, -(-count // len(clips))) for clip in clips]
    return [frame for together in zip(*each, strict=True) for frame in together][:count]


def enlarged(frames: list[Any], width: int = 1920, height: int = 1080) -> list[Any]:
    """The frames as a larger camera would send them."""
    import cv2

    return [cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in frames]


def _frames_of(clip: Path, count: int) -> list[Any]:
    """`count` frames with cars on them, spread over a clip."""
    import av

    truth = json.loads(clip.with_suffix(".json").read_text())
    shown = sorted({i for car in truth["cars"] for i in range(car["first_frame"], car["last_frame"])})
    step = max(1, len(shown) // count)
    wanted = set(shown[::step][:count])
    with av.open(str(clip)) as container:
        return [
            frame.to_ndarray(format="bgr24")
            for index, frame in enumerate(container.decode(video=0))
            if index in wanted
        ]
