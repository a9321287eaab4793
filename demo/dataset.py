"""The training set: rendered pictures with boxes, and crops cut out of them as a detector would."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .scenes import CarTruth, render
from .scenes.truth import Box

FRAME_SIZE = (1280, 720)
CROP_PX = 96
DETECTOR_CLASSES = ("Car", "Frontal")
# What is less visible than this is left unlabelled: nobody could say what it is.
LEAST_VISIBLE = 0.25
LEAST_WIDTH = 0.03
LEAST_CROP_VISIBLE = 0.45
JITTER = 0.06


def labels(cars: Iterable[CarTruth], size: tuple[int, int]) -> list[str]:
    """YOLO label lines (class, centre x, centre y, width, height; fractions of the picture)."""
    lines = []
    for car in cars:
        if car.box is None or car.visible_fraction < LEAST_VISIBLE or _width(car.box, size) < LEAST_WIDTH:
            continue
        lines.append(_line(0, car.box, size))
        if (
            car.frontal is not None
            and car.front_fraction >= LEAST_VISIBLE
            and _width(car.frontal, size) > 0.012
        ):
            lines.append(_line(1, car.frontal, size))
    return lines


def crop(image: NDArray[np.uint8], box: Box, rng: np.random.Generator | None = None) -> NDArray[np.uint8]:
    """The box stretched to CROP_PX square; with `rng` its edges wander as a detector's do."""
    x1, y1, x2, y2 = box
    if rng is not None:
        dx1, dx2 = rng.normal(0, JITTER / 2, 2) * (x2 - x1)
        dy1, dy2 = rng.normal(0, JITTER, 2) * (y2 - y1)
        x1, x2, y1, y2 = x1 + dx1, x2 + dx2, y1 + dy1, y2 + dy2
    h, w = image.shape[:2]
    left, top = max(0, int(x1)), max(0, int(y1))
    right, bottom = min(w, max(left + 2, round(x2))), min(h, max(top + 2, round(y2)))
    return np.asarray(cv2.resize(image[top:bottom, left:right], (CROP_PX, CROP_PX)), np.uint8)


def write_seed(job: tuple[int, str, Path]) -> None:
    """Renders one seed into `root` as a detection picture and classification crops of its split."""
    seed, split, root = job
    cv2.setNumThreads(1)
    scene = render(seed, FRAME_SIZE)
    name = str(seed)
    cv2.imwrite(
        str(root / "detect/images" / split / f"{name}.jpg"), scene.image, [cv2.IMWRITE_JPEG_QUALITY, 95]
    )
    lines = labels(scene.cars, FRAME_SIZE)
    (root / "detect/labels" / split / f"{name}.txt").write_text("\n".join(lines))
    rng = np.random.default_rng(seed)
    for k, car in enumerate(scene.cars):
        for copy in range(3 if split == "train" else 1):
            if (
                car.frontal is not None
                and car.front_fraction >= LEAST_CROP_VISIBLE
                and _pixels(car.frontal) > 44
            ):
                _write(
                    root / "brand" / split / car.brand / f"{name}_{k}_{copy}.png",
                    crop(scene.image, car.frontal, rng),
                )
            if car.box is not None and car.visible_fraction >= LEAST_CROP_VISIBLE and _pixels(car.box) > 60:
                _write(
                    root / "body" / split / car.body_type / f"{name}_{k}_{copy}.png",
                    crop(scene.image, car.box, rng),
                )


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
    names = "\n".join(f"  {k}: {name}" for k, name in enumerate(DETECTOR_CLASSES))
    (root / "detect/data.yaml").write_text(
        f"path: {root / 'detect'}\ntrain: images/train\nval: images/val\nnames:\n{names}\n"
    )


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def _width(box: Box, size: tuple[int, int]) -> float:
    return (box[2] - box[0]) / size[0]


def _pixels(box: Box) -> float:
    return box[2] - box[0]


def _line(index: int, box: Box, size: tuple[int, int]) -> str:
    x, y = (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
    return f"{index} {x:.6f} {y:.6f} {(box[2] - box[0]) / size[0]:.6f} {(box[3] - box[1]) / size[1]:.6f}"
