"""The rendered clips that tracking is measured on, with the truth about them, kept on the disk."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.identity import Box
from demo import scenes
from demo.scenes import scripts
from demo.scenes.truth import CarTruth

CACHE = Path(__file__).parent.parent / ".demo" / "bench-tracking"
SIZE = (640, 360)
FPS = 10
JPEG_QUALITY = 95
LEAST_VISIBLE = 0.5
"""Share of a car that must show, else nobody is asked for it."""
LEAST_WIDTH = 0.06
"""Of the picture's; narrower cars are not asked for either."""


@dataclass(frozen=True)
class Shown:
    """A car on one frame: what can be seen of it. `nameable`: its front shows too, large enough."""

    box: Box
    visible: float
    nameable: bool

    @property
    def counts(self) -> bool:
        return self.visible >= LEAST_VISIBLE and self.box[2] - self.box[0] >= LEAST_WIDTH * SIZE[0]


@dataclass(frozen=True)
class Recording:
    """A rendered clip: JPEGs in `folder`, and per frame the cars in the picture by their number."""

    name: str
    folder: Path
    brands: list[str]
    frames: list[dict[int, Shown]]

    @cached_property
    def every(self) -> range:
        return range(len(self.frames))

    def image(self, index: int) -> Any:
        """Frame `index` as H×W×3 BGR."""
        import cv2

        return cv2.imread(str(self.folder / f"{index}.jpg"))


def recording(seed: int) -> Recording:
    """The clip of a seed; rendered unless that was done before."""
    folder = CACHE / f"{seed}-{_digest()}"
    if not folder.exists():
        _render(seed, folder)
    said = json.loads((folder / "truth.json").read_text())
    frames = [
        {int(car): Shown(tuple(box), visible, nameable) for car, (box, visible, nameable) in frame.items()}
        for frame in said["frames"]
    ]
    return Recording(said["name"], folder, said["brands"], frames)


def _digest() -> str:
    """Of everything that decides the pictures, beside the seed."""
    sources = [path.read_bytes() for path in sorted(Path(scenes.__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join([*sources, repr((SIZE, FPS, JPEG_QUALITY)).encode()])).hexdigest()[:12]


def _render(seed: int, folder: Path) -> None:
    import cv2

    clip = scripts.sample_traffic(seed, SIZE, FPS)
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=folder.parent, prefix="half-"))
    try:
        frames: list[dict[int, tuple[Box, float, bool]]] = []
        for index, (scene, cars) in enumerate(clip):
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            cv2.imwrite(str(half / f"{index}.jpg"), scene.image, quality)
            frames.append({k: _told(car) for k, car in enumerate(cars) if car is not None and car.box})
        brands = [drive.car.brand for drive in clip.drives]
        truth = {"name": clip.name, "brands": brands, "frames": frames}
        (half / "truth.json").write_text(json.dumps(truth))
        half.rename(folder)
    except BaseException:
        shutil.rmtree(half)
        raise


def _told(car: CarTruth) -> tuple[Box, float, bool]:
    assert car.box is not None
    return car.box, car.visible_fraction, car.visible
