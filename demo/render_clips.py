"""Renders the demo's clips and the truth about them: `python -m demo.render_clips`.

Each `<name>.json` beside a clip says which cars it shows and between which frames each one is *visible*
(as `demo.scenes.truth` defines it), first and last frame included, counted from 0.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from .scenes import Clip, Visit
from .seeds import CLIPS

FOLDER = Path(__file__).parent / "clips"
CONSTANT_QUALITY = 25

SCRIPTS = {
    "morning-rush": Clip(
        CLIPS["morning-rush"],
        "clear",
        seconds=24.0,
        visits=(
            Visit("Aster", "SUV", 5, 1, 0.4),
            Visit("Dynex", "Sedan", 7, 2, 4.4, 9.0),
            Visit("Corvano", "Hatchback", 12, 1, 10.6, 9.0),
        ),
    ),
    "dusk-visit": Clip(
        CLIPS["dusk-visit"],
        "dusk",
        seconds=22.0,
        visits=(Visit("Borel", "Sedan", 0, 2, 0.4, 9.0), Visit("Eldra", "SUV", 11, 1, 8.4)),
    ),
    "rainy-night": Clip(
        CLIPS["rainy-night"],
        "night",
        seconds=23.0,
        rain=0.45,
        visits=(
            Visit("Corvano", "Pickup", 1, 1, 0.4, 9.5),
            Visit("Aster", "Hatchback", 14, 2, 4.8, 9.0),
            Visit("Borel", "SUV", 8, 1, 9.6, 9.6),
        ),
    ),
}


def truth_sidecar(clip: Clip, visible: list[list[int]]) -> dict[str, Any]:
    """The sidecar of a clip, given per visit the frames on which its car is visible."""
    cars = [
        {"brand": v.brand, "body_type": v.body_type, "first_frame": min(frames), "last_frame": max(frames)}
        for v, frames in zip(clip.visits, visible, strict=True)
    ]
    return {"fps": clip.fps, "frames": clip.frames, "cars": cars}


def write(name: str, clip: Clip, folder: Path = FOLDER) -> Path:
    """Encodes a clip as H.264 for streaming (a keyframe a second, no B-frames) and writes its sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.mp4"
    visible: list[list[int]] = [[] for _ in clip.visits]
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(clip.fps))
        stream.width, stream.height = clip.size
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "crf": str(CONSTANT_QUALITY),
            "preset": "medium",
            "g": str(clip.fps),
            "keyint_min": str(clip.fps),
            "bf": "0",
            "sc_threshold": "0",
            "threads": "1",
        }
        for index, scene in enumerate(clip):
            for seen, car in zip(visible, scene.cars, strict=True):
                if car.visible:
                    seen.append(index)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.image, format="bgr24")))
        container.mux(stream.encode(None))
    sidecar = target.with_suffix(".json")
    sidecar.write_text(json.dumps(truth_sidecar(clip, visible), indent=2) + "\n")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*SCRIPTS, []], help="which clips; all by default")
    for name in parser.parse_args().names or SCRIPTS:
        target = write(name, SCRIPTS[name])
        print(f"{target} {target.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
