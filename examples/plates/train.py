"""Trains the plate models from nothing but rendered pictures: `python -m examples.plates.train WORK_DIR`.

Two cores take about ten minutes. Run folders stay in WORK_DIR; the two checkpoints (stripped, half
precision) go to examples/plates/archive/, from where `examples.pack` takes them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from demo import train as demo_train

from .dataset import CLASSIFIER_PX, DETECTOR_PX, build
from .scenes import TRAINING, VALIDATION

HERE = Path(__file__).parent
WEIGHTS = HERE / "archive"
DETECTOR = "plate_detection"
CLASSIFIER = "plate_type_classification"


def fit(name: str, runs: Path, **options: Any) -> Path:
    """Trains the net of `<name>.yaml` and returns its published checkpoint."""
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = YOLO(str(HERE / f"{name}.yaml"))
    model.add_callback("on_train_start", demo_train.half_precision_forward)
    settings = {**demo_train.COMMON, "workers": 1, "lr0": 0.003, "warmup_epochs": 1, "hsv_v": 0.35}
    model.train(project=str(runs), name=name, **{**settings, **options})
    return demo_train.publish(runs / name / "weights" / "best.pt", WEIGHTS / f"{name}.pt")


def train_detector(data: Path, runs: Path) -> Path:
    return fit(
        DETECTOR,
        runs,
        data=str(data),
        imgsz=DETECTOR_PX,
        epochs=24,
        batch=32,
        cache="ram",
        mosaic=0.3,
        close_mosaic=8,
        scale=0.25,
        translate=0.1,
        fliplr=0.5,
        hsv_h=0.015,
        hsv_s=0.4,
    )


def train_classifier(data: Path, runs: Path) -> Path:
    """A classifier of stretched plates; their colour is what tells them, so it hardly varies."""
    return fit(
        CLASSIFIER,
        runs,
        data=str(data),
        imgsz=CLASSIFIER_PX,
        epochs=14,
        batch=32,
        scale=0.2,
        fliplr=0.5,
        auto_augment=None,
        erasing=0.1,
        hsv_h=0.01,
        hsv_s=0.3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path, help="where pictures and run folders go (about 100 MB)")
    parser.add_argument("--only", choices=["data", "detector", "types"], help="one stage, the others kept")
    parser.add_argument("--processes", type=int, default=2, help="renderers side by side")
    options = parser.parse_args()
    root: Path = options.work_dir.resolve()
    data, runs = root / "data", root / "runs"
    if options.only in (None, "data"):
        build(data, {"train": TRAINING, "val": VALIDATION}, options.processes)
    if options.only in (None, "detector"):
        train_detector(data / "detect/data.yaml", runs)
    if options.only in (None, "types"):
        train_classifier(data / "types", runs)


if __name__ == "__main__":
    main()
