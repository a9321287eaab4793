"""Trains the demo's weights from nothing but rendered pictures: `python -m demo.train WORK_DIR`.

Two cores take about forty minutes. Run folders stay in WORK_DIR; the three final checkpoints (stripped,
half precision) go to demo/weights/, from where `demo.pack` takes them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from . import seeds
from .dataset import CROP_PX, build

WEIGHTS = Path(__file__).parent / "weights"
DETECTOR = "car_frontal_detection"
BRAND = "car_brand_classification"
BODY_TYPE = "car_bodytype_classification"
DETECTOR_PX = 320
# What a checkpoint's arguments say about where it was trained.
PATHS = {"data", "project", "save_dir"}
COMMON = {
    "device": "cpu",
    "seed": 0,
    "deterministic": True,
    "amp": False,
    "plots": False,
    "patience": 0,
    "optimizer": "AdamW",
    "cos_lr": True,
    "exist_ok": True,
    "verbose": True,
}


def half_precision_forward(trainer: Any) -> None:
    """Runs the net's forward pass in bfloat16 where the processor has it: twice as fast, loss still float32.

    Wrapped on the live model only; checkpoints are written from its moving average, which stays plain.
    """
    import torch

    model = trainer.model.to(memory_format=torch.channels_last)
    forward = model.predict

    def widened(value: Any) -> Any:
        if torch.is_tensor(value):
            return value.float()
        if isinstance(value, dict):
            return {k: widened(v) for k, v in value.items()}
        return type(value)(widened(v) for v in value) if isinstance(value, (list, tuple)) else value

    def predict(x: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            out = forward(x.contiguous(memory_format=torch.channels_last), *args, **kwargs)
        return widened(out)

    model.predict = predict


def fit(name: str, architecture: str, runs: Path, **options: Any) -> Path:
    """Trains one net and returns its published checkpoint."""
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = YOLO(architecture)
    model.add_callback("on_train_start", half_precision_forward)
    model.train(project=str(runs), name=name, **COMMON, **options)
    return publish(runs / name / "weights" / "best.pt", WEIGHTS / f"{name}.pt")


def publish(best: Path, target: Path) -> Path:
    """Copies a checkpoint of our own without what it says of the machine that trained it."""
    import torch

    checkpoint = torch.load(best, map_location="cpu", weights_only=False)
    checkpoint.pop("git", None)
    for holder in (checkpoint.get("train_args"), getattr(checkpoint["model"], "args", None)):
        if isinstance(holder, dict):
            holder.update(dict.fromkeys(PATHS & holder.keys()))
    target.parent.mkdir(exist_ok=True)
    torch.save(checkpoint, target)
    return target


def train_classifier(name: str, data: Path, runs: Path) -> Path:
    """A classifier of stretched crops; a mirrored car is the same car."""
    return fit(
        name,
        "yolo11n-cls.yaml",
        runs,
        data=str(data),
        imgsz=CROP_PX,
        epochs=14,
        batch=32,
        lr0=0.002,
        workers=1,
        warmup_epochs=1,
        scale=0.25,
        fliplr=0.5,
        auto_augment=None,
        erasing=0.25,
        hsv_h=0.02,
        hsv_s=0.5,
        hsv_v=0.35,
        dropout=0.1,
    )


def train_detector(data: Path, runs: Path) -> Path:
    return fit(
        DETECTOR,
        "yolo11n.yaml",
        runs,
        data=str(data),
        imgsz=DETECTOR_PX,
        epochs=25,
        batch=16,
        lr0=0.002,
        workers=1,
        cache="ram",
        warmup_epochs=1.5,
        close_mosaic=7,
        mosaic=0.8,
        scale=0.4,
        translate=0.1,
        hsv_h=0.02,
        hsv_s=0.5,
        hsv_v=0.35,
        fliplr=0.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path, help="where pictures and run folders go (about 1 GB)")
    parser.add_argument(
        "--only", choices=["data", "brand", "body", "detector"], help="one stage, the others kept"
    )
    parser.add_argument("--processes", type=int, default=2, help="renderers side by side")
    options = parser.parse_args()
    root: Path = options.work_dir.resolve()
    data, runs = root / "data", root / "runs"
    if options.only in (None, "data"):
        build(data, {"train": seeds.TRAINING, "val": seeds.VALIDATION}, options.processes)
    if options.only in (None, "brand"):
        train_classifier(BRAND, data / "brand", runs)
    if options.only in (None, "body"):
        train_classifier(BODY_TYPE, data / "body", runs)
    if options.only in (None, "detector"):
        train_detector(data / "detect/data.yaml", runs)


if __name__ == "__main__":
    main()
