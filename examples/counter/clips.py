"""Renders the clip in the archive's tests/: `python -m examples.counter.clips`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from demo.scenes import Clip, Visit

TARGET = Path(__file__).parent / "archive" / "tests" / "three-cars.mp4"
# It travels in every copy of the archive: as small as it may be and still show each car well.
CONSTANT_QUALITY = 30
# Two cars stop between the islands, in the zone; the third one on the far side of its island, outside.
THREE_CARS = Clip(
    9_100_001,
    "clear",
    seconds=16.0,
    fps=5,
    size=(480, 272),
    visits=(
        Visit("Aster", "SUV", 5, 1, 0.2),
        Visit("Dynex", "Sedan", 7, 2, 1.0, 9.0),
        Visit("Borel", "Hatchback", 12, 0, 2.6, 10.5),
    ),
)


def write(clip: Clip, target: Path) -> Path:
    """Encodes a clip as H.264."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(clip.fps))
        stream.width, stream.height = clip.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(CONSTANT_QUALITY), "preset": "slow", "threads": "1"}
        for scene in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.image, format="bgr24")))
        container.mux(stream.encode(None))
    return target


def main() -> None:
    target = write(THREE_CARS, TARGET)
    print(f"{target} {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
