"""Clips for benches: the demo's, brought to another size, rate and keyframe interval, kept in `.demo`.

They carry a sensor's noise and as many bits as cameras send (4 Mbit/s at 1080p25): rendered pictures
alone are so clean that decoding them costs half.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".demo" / "bench-clips"
SOURCE = ROOT / "demo" / "clips" / "morning-rush.mp4"
BITS_A_PIXEL = 0.077
NOISE = 2.5
"""Standard deviation of the noise, of 255."""


def clip(
    width: int = 1920,
    height: int = 1080,
    fps: int = 25,
    seconds: float = 20.0,
    keyframe_sec: float = 2.0,
    bframes: int = 0,
    source: Path = SOURCE,
) -> Path:
    """An H.264 clip of that size and rate with a keyframe every `keyframe_sec` seconds, as cameras send
    it; `source` is repeated where it is too short. Made once."""
    name = f"{source.stem}-{width}x{height}-{fps}fps-{seconds:g}s-gop{keyframe_sec:g}-b{bframes}-noisy.mp4"
    path = FOLDER / name
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    with av.open(str(unfinished), "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=fps)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = max(1, round(fps * keyframe_sec))
        stream.codec_context.bit_rate = round(BITS_A_PIXEL * width * height * fps)
        stream.options = {"preset": "veryfast", "sc_threshold": "0", "bf": str(bframes)}
        noise = _noise(height, width)
        made, wanted = 0, round(fps * seconds)
        while made < wanted:
            made += _once(source, target, stream, noise, made, wanted)
        target.mux(stream.encode())
    unfinished.rename(path)
    return path


def _once(
    source: Path,
    target: "av.container.OutputContainer",
    stream: VideoStream,
    noise: "Iterator[np.ndarray]",
    made: int,
    wanted: int,
) -> int:
    """Run through `source` once, from frame `made` of `wanted` on. Returns how many were added."""
    added, fps = 0, int(stream.codec_context.framerate)
    with av.open(str(source)) as container:
        film = container.streams.video[0]
        step = float(film.average_rate or fps) / fps
        due = 0.0
        for index, frame in enumerate(container.decode(film)):
            while index >= due and made + added < wanted:
                picture = frame.reformat(
                    stream.width, stream.height, "yuv420p", interpolation=Interpolation.BICUBIC
                )
                # Else each keyframe of the source would be one here, too.
                picture.pict_type = PictureType.NONE
                _add(picture, next(noise))
                picture.pts = made + added
                picture.time_base = Fraction(1, fps)
                target.mux(stream.encode(picture))
                added += 1
                due += step
    return added


def _noise(height: int, width: int) -> "Iterator[np.ndarray]":
    """Another noise for each frame: a few, shifted at random."""
    chance = np.random.default_rng(7)
    some = [np.rint(chance.normal(0, NOISE, (height, width))).astype(np.int16) for _ in range(4)]
    while True:
        shift = (int(chance.integers(height)), int(chance.integers(width)))
        yield np.roll(some[int(chance.integers(len(some)))], shift, (0, 1))


def _add(picture: VideoFrame, noise: np.ndarray) -> None:
    """Noise on the brightness, in place."""
    plane = picture.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size).copy()
    seen = rows[: plane.height, : plane.width]
    seen[:] = np.clip(seen + noise, 0, 255)
    plane.update(rows.tobytes())
