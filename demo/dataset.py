"""The training set: rendered pictures with boxes, and crops cut out of them as a detector would."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .scenes import CarTruth, Scene, render
from .scenes.layers import StillStage
from .scenes.scripts import SECONDS, sample_traffic
from .scenes.traffic import in_picture
from .scenes.truth import Box

FRAME_SIZE = (1280, 720)
CROP_PX = 96
DETECTOR_CLASSES = ("Car", "Frontal")
# What is less visible than this is left unlabelled: nobody could say what it is.
LEAST_VISIBLE = 0.25
LEAST_WIDTH = 0.03
JITTER = 0.06
# A third of the traffic is seen in large pictures; where it is measured the pictures are small.
TRAFFIC_SIZES = ((640, 360), FRAME_SIZE, (640, 360))
MOMENTS = 4

Writer = Callable[[int, str, Path], None]


class Part(NamedTuple):
    """Seeds, how they are rendered, and for which split."""

    write: Writer
    split: str
    seeds: range


class Cropping(NamedTuple):
    """What is cut out: the least width in pixels of a front and of a car, the least share of it that must
    show, and for each copy how far its edges wander, in multiples of JITTER."""

    frontal: float
    car: float
    visible: float
    wander: tuple[float, ...]


CAREFUL = Cropping(44, 60, 0.45, (1, 1, 1))
# In traffic the detector errs by more, and what is small or half hidden is cut out all the same.
ROUGH = Cropping(18, 40, 0.3, (1, 2, 3))


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


def crop(
    image: NDArray[np.uint8], box: Box, rng: np.random.Generator | None = None, wander: float = 1.0
) -> NDArray[np.uint8]:
    """The box stretched to CROP_PX square; with `rng` its edges wander as a detector's do."""
    x1, y1, x2, y2 = box
    if rng is not None:
        dx1, dx2 = rng.normal(0, wander * JITTER / 2, 2) * (x2 - x1)
        dy1, dy2 = rng.normal(0, wander * JITTER, 2) * (y2 - y1)
        x1, x2, y1, y2 = x1 + dx1, x2 + dx2, y1 + dy1, y2 + dy2
    h, w = image.shape[:2]
    left, top = max(0, int(x1)), max(0, int(y1))
    right, bottom = min(w, max(left + 2, round(x2))), min(h, max(top + 2, round(y2)))
    return np.asarray(cv2.resize(image[top:bottom, left:right], (CROP_PX, CROP_PX)), np.uint8)


def write_seed(seed: int, split: str, root: Path) -> None:
    """Renders one seed into `root` as a detection picture and classification crops of its split."""
    _write_scene(render(seed, FRAME_SIZE), root, split, str(seed), CAREFUL)


def write_traffic(seed: int, split: str, root: Path) -> None:
    """The same of a few moments of the traffic that belongs to a seed, in small pictures or large ones."""
    traffic = sample_traffic(seed, TRAFFIC_SIZES[seed % len(TRAFFIC_SIZES)])
    still = StillStage(traffic.stage)
    rng = np.random.default_rng(seed)
    for k in range(MOMENTS):
        now = (k + float(rng.random())) * SECONDS / MOMENTS
        cars = [car for drive in traffic.drives if (car := drive.at(now)) is not None]
        shown = [car for car in cars if in_picture(car, traffic.stage)]
        if len(shown) < 2:
            continue
        scene = still.shoot(shown, seed * 1000 + k, [1 + 2 * car for car in range(len(shown))])
        _write_scene(scene, root, split, f"{seed}_{k}", ROUGH)


def _write_scene(scene: Scene, root: Path, split: str, name: str, how: Cropping) -> None:
    cv2.setNumThreads(1)
    height, width = scene.image.shape[:2]
    picture = root / "detect/images" / split / f"{name}.jpg"
    cv2.imwrite(str(picture), scene.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    lines = labels(scene.cars, (width, height))
    (root / "detect/labels" / split / f"{name}.txt").write_text("\n".join(lines))
    rng = np.random.default_rng([int(part) for part in name.split("_")])
    for k, car in enumerate(scene.cars):
        front = car.frontal if car.front_fraction >= how.visible else None
        whole = car.box if car.visible_fraction >= how.visible else None
        for copy, wander in enumerate(how.wander if split == "train" else how.wander[-1:]):
            end = f"{name}_{k}_{copy}.png"
            if front is not None and _pixels(front) > how.frontal:
                _write(root / "brand" / split / car.brand / end, crop(scene.image, front, rng, wander))
            if whole is not None and _pixels(whole) > how.car:
                _write(root / "body" / split / car.body_type / end, crop(scene.image, whole, rng, wander))


def build(root: Path, parts: Iterable[Part], processes: int) -> None:
    """Renders every seed of every part below `root`."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / "detect" / kind / split).mkdir(parents=True, exist_ok=True)
    jobs = [(write, seed, split, root) for write, split, seeds in parts for seed in seeds]
    # OpenCV has started its threads on import by now, and they do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(_do, jobs, chunksize=4), 1):
            if done % 100 == 0:
                print(f"{done} of {len(jobs)} seeds", flush=True)
    names = "\n".join(f"  {k}: {name}" for k, name in enumerate(DETECTOR_CLASSES))
    (root / "detect/data.yaml").write_text(
        f"path: {root / 'detect'}\ntrain: images/train\nval: images/val\nnames:\n{names}\n"
    )


def _do(job: tuple[Writer, int, str, Path]) -> None:
    write, *arguments = job
    write(*arguments)


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
