"""The pictures of docs/pipelines.md, from the run that the page describes: `make docs-pictures`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import av

HERE = Path(__file__).parent
IMAGES = HERE / "images"
ROOT = HERE.parent
CLIP = ROOT / "demo" / "clips" / "morning-rush.mp4"
SHOWN_SEC = 9.5
"""Moment of the clip at which two cars stand in the zone, their fronts to be seen."""
QUALITY = 85


def tracking() -> object:
    """The `tracking` that the page tells authors to write."""
    text = (HERE / "pipelines.md").read_text(encoding="utf-8")
    found = re.search(
        r"<!-- set: work/station/\S+ pipeline\.tracking -->\n```json\n(.*?)```", text, re.DOTALL
    )
    assert found is not None
    return json.loads(found[1])


def station(folder: Path) -> Path:
    """The demo's archive as a folder, with the page's zone."""
    with zipfile.ZipFile(ROOT / "demo" / "demo.mpta") as archive:
        archive.extractall(folder)
    path = folder / "pipeline.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    spec["pipeline"]["tracking"] = tracking()
    path.write_text(json.dumps(spec), encoding="utf-8")
    return folder


def still(film: Path, at: float, target: Path) -> None:
    """The frame of a film nearest to a moment, as JPEG."""
    with av.open(str(film)) as container:
        frame = min(container.decode(video=0), key=lambda frame: abs(frame.time - at))
        frame.to_image().save(target, quality=QUALITY, optimize=True)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = station(Path(temporary) / "station"), Path(temporary) / "out"
        command = [sys.executable, "-m", "siwatsystem", "run", str(folder), "--source", str(CLIP)]
        subprocess.run(
            [*command, "--fps", "10", "--actions", "none", "--output", str(out)], check=True, cwd=ROOT
        )
        still(out / f"{CLIP.stem}.annotated.mp4", SHOWN_SEC, IMAGES / "annotated.jpg")
        for plot in ("detections", "confidences", "timing"):
            shutil.copyfile(out / f"{CLIP.stem}.{plot}.png", IMAGES / f"{plot}.png")
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.relative_to(ROOT)} {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
