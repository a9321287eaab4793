"""The training set: fronts cut out as the pipeline cuts them, with the plate's box; and plates by type."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.dataset import JITTER
from demo.scenes.truth import Box

from .scenes import PlateScene, PlateTruth, render

DETECTOR_PX = 160
CLASSIFIER_PX = 64
COPIES = 3
LEAST_FRONT_PX = 60
LEAST_PLATE_PX = 20
# A plate of which less can be seen than the first is no plate; between the two nobody could say.
HARDLY_VISIBLE = 0.2
MOSTLY_VISIBLE = 0.6
BACKGROUNDS = 0.12

Image = NDArray[np.uint8]


def wandered(box: Box, rng: np.random.Generator, size: tuple[int, int], jitter: float) -> Box:
    """The box with edges as a detector would place them, whole pixels inside a picture of `size`."""
    x1, y1, x2, y2 = box
    dx1, dx2 = rng.normal(0, jitter / 2, 2) * (x2 - x1)
    dy1, dy2 = rng.normal(0, jitter, 2) * (y2 - y1)
    left = min(max(0, int(x1 + dx1)), size[0] - 2)
    top = min(max(0, int(y1 + dy1)), size[1] - 2)
    right = min(size[0], max(left + 2, int(x2 + dx2)))
    bottom = min(size[1], max(top + 2, int(y2 + dy2)))
    return left, top, right, bottom


def stretched(image: Image, box: Box, side: int) -> Image:
    """The part of the picture inside a box of whole pixels, stretched to a square."""
    x1, y1, x2, y2 = (int(edge) for edge in box)
    return np.asarray(cv2.resize(image[y1:y2, x1:x2], (side, side)), np.uint8)


def label(plate: Box, cut: Box) -> str:
    """The YOLO line of a plate inside a cut: class 0, centre and size as fractions of the cut."""
    width, height = cut[2] - cut[0], cut[3] - cut[1]
    x1, x2 = (min(1.0, max(0.0, (edge - cut[0]) / width)) for edge in (plate[0], plate[2]))
    y1, y2 = (min(1.0, max(0.0, (edge - cut[1]) / height)) for edge in (plate[1], plate[3]))
    return f"0 {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}"


def write_seed(job: tuple[int, str, Path]) -> None:
    """Renders one seed into `root`: fronts with labels, plates in a folder per type."""
    seed, split, root = job
    cv2.setNumThreads(1)
    scene = render(seed)
    rng = np.random.default_rng(seed)
    copies = COPIES if split == "train" else 1
    for k, (car, plate) in enumerate(zip(scene.cars, scene.plates, strict=True)):
        for copy in range(copies):
            name = f"{seed}_{k}_{copy}"
            if car.frontal is not None and car.frontal[2] - car.frontal[0] >= LEAST_FRONT_PX:
                _front(scene, car.frontal, plate, root / "detect", split, name, rng)
            if plate is not None and plate.visible_fraction >= MOSTLY_VISIBLE:
                _plate(scene.image, plate, root / "types" / split, name, rng)
    if rng.random() < BACKGROUNDS:
        _background(scene, root / "detect", split, f"{seed}_b", rng)


def _front(
    scene: PlateScene,
    front: Box,
    plate: PlateTruth | None,
    root: Path,
    split: str,
    name: str,
    rng: np.random.Generator,
) -> None:
    visible = 0.0 if plate is None else plate.visible_fraction
    if HARDLY_VISIBLE <= visible < MOSTLY_VISIBLE:
        return
    height, width = scene.image.shape[:2]
    cut = wandered(front, rng, (width, height), JITTER)
    _save(root, split, name, stretched(scene.image, cut, DETECTOR_PX))
    line = label(plate.box, cut) if plate is not None and visible >= MOSTLY_VISIBLE else ""
    (root / "labels" / split / f"{name}.txt").write_text(line)


def _plate(image: Image, plate: PlateTruth, root: Path, name: str, rng: np.random.Generator) -> None:
    x1, _, x2, _ = plate.box
    if x2 - x1 < LEAST_PLATE_PX:
        return
    folder = root / plate.plate_type
    folder.mkdir(parents=True, exist_ok=True)
    cut = wandered(plate.box, rng, (image.shape[1], image.shape[0]), JITTER)
    cv2.imwrite(str(folder / f"{name}.png"), stretched(image, cut, CLASSIFIER_PX))


def _background(scene: PlateScene, root: Path, split: str, name: str, rng: np.random.Generator) -> None:
    """A part of the picture without a plate: not everything that is cut out has one."""
    height, width = scene.image.shape[:2]
    w, h = int(rng.integers(80, 320)), int(rng.integers(40, 140))
    x, y = int(rng.integers(width - w)), int(rng.integers(height - h))
    for plate in scene.plates:
        if plate is not None and plate.box[0] < x + w and plate.box[2] > x:
            return
    _save(root, split, name, stretched(scene.image, (x, y, x + w, y + h), DETECTOR_PX))
    (root / "labels" / split / f"{name}.txt").write_text("")


def _save(root: Path, split: str, name: str, image: Image) -> None:
    cv2.imwrite(str(root / "images" / split / f"{name}.png"), image)


def build(root: Path, splits: dict[str, range], processes: int) -> None:
    """Renders every seed of every split below `root`."""
    for split in splits:
        for kind in ("images", "labels"):
            (root / "detect" / kind / split).mkdir(parents=True, exist_ok=True)
    jobs = [(seed, split, root) for split, seeds in splits.items() for seed in seeds]
    # OpenCV has started its threads on import by now, and they do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(write_seed, jobs, chunksize=8), 1):
            if done % 100 == 0:
                print(f"{done} of {len(jobs)} pictures", flush=True)
    (root / "detect/data.yaml").write_text(
        f"path: {root / 'detect'}\ntrain: images/train\nval: images/val\nnames:\n  0: Plate\n"
    )
