"""Trains the demo's weights from nothing but rendered pictures: `python -m demo.train WORK_DIR`.

Two cores take about an hour. Run folders stay in WORK_DIR; the three final checkpoints (stripped,
half precision) go to demo/weights/, from where `demo.pack` takes them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "true")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from . import seeds
from .dataset import CROP_PX, Part, build, write_seed, write_traffic

WEIGHTS = Path(__file__).parent / "weights"
DETECTOR = "car_frontal_detection"
BRAND = "car_brand_classification"
BODY_TYPE = "car_bodytype_classification"
DETECTOR_PX = 320
FIRST = (
    Part(write_seed, "train", seeds.TRAINING),
    Part(write_seed, "val", seeds.VALIDATION),
)
# Some of the first round's pictures are seen again in the second, so that nothing is forgotten.
SECOND = (
    Part(write_traffic, "train", seeds.TRAFFIC_TRAINING),
    Part(write_traffic, "val", seeds.TRAFFIC_VALIDATION),
    Part(write_seed, "train", seeds.TRAINING[:260]),
    Part(write_seed, "val", seeds.VALIDATION[:40]),
)
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


def fit(name: str, start: str | Path, runs: Path, run: str | None = None, **options: Any) -> Path:
    """Trains one net from an architecture or a checkpoint and returns its published checkpoint."""
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = YOLO(start)
    model.add_callback("on_train_start", half_precision_forward)
    model.train(project=str(runs), name=run or name, **COMMON, **options)
    return publish(checkpoint(runs, run or name), WEIGHTS / f"{name}.pt")


def checkpoint(runs: Path, run: str) -> Path:
    return runs / run / "weights" / "best.pt"


def publish(best: Path, target: Path) -> Path:
    """Copies a checkpoint of our own without what it says of the machine that trained it."""
    import torch

    said = torch.load(best, map_location="cpu", weights_only=False)
    said.pop("git", None)
    for holder in (said.get("train_args"), getattr(said["model"], "args", None)):
        if isinstance(holder, dict):
            holder.update(dict.fromkeys(PATHS & holder.keys()))
            if "model" in holder:
                holder["model"] = Path(holder["model"]).name
    if hasattr(said["model"], "pt_path"):
        # Of the weights that training went on from.
        del said["model"].pt_path
    layout = getattr(said["model"], "yaml", None)
    if isinstance(layout, dict) and "yaml_file" in layout:
        layout["yaml_file"] = Path(layout["yaml_file"]).name
    target.parent.mkdir(exist_ok=True)
    torch.save(said, target)
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


def refine(name: str, data: Path, runs: Path, **options: Any) -> Path:
    """Trains the first round's net on, gently: traffic, and some of the first round's pictures."""
    return fit(
        name,
        checkpoint(runs, name),
        runs,
        run=f"{name}_on_traffic",
        data=str(data),
        workers=1,
        batch=16,
        nbs=16,
        warmup_epochs=0.3,
        warmup_bias_lr=0.0,
        hsv_h=0.02,
        hsv_s=0.5,
        hsv_v=0.35,
        fliplr=0.5,
        **options,
    )


def refine_classifier(name: str, data: Path, runs: Path) -> Path:
    return refine(
        name,
        data,
        runs,
        imgsz=CROP_PX,
        epochs=6,
        lr0=0.0005,
        scale=0.25,
        auto_augment=None,
        erasing=0.15,
        dropout=0.1,
    )


def refine_detector(data: Path, runs: Path) -> Path:
    return refine(
        DETECTOR,
        data,
        runs,
        imgsz=DETECTOR_PX,
        epochs=8,
        lr0=0.0006,
        cache="ram",
        mosaic=0.6,
        close_mosaic=2,
        scale=0.3,
        translate=0.1,
    )


def stages(root: Path, processes: int) -> dict[str, Callable[[], Any]]:
    """Everything in its order: a first round on pictures of a few cars, then a second on traffic."""
    first, second, runs = root / "data", root / "traffic", root / "runs"
    return {
        "data": lambda: build(first, FIRST, processes),
        "brand": lambda: train_classifier(BRAND, first / "brand", runs),
        "body": lambda: train_classifier(BODY_TYPE, first / "body", runs),
        "detector": lambda: train_detector(first / "detect/data.yaml", runs),
        "traffic": lambda: build(second, SECOND, processes),
        "refine-brand": lambda: refine_classifier(BRAND, second / "brand", runs),
        "refine-body": lambda: refine_classifier(BODY_TYPE, second / "body", runs),
        "refine-detector": lambda: refine_detector(second / "detect/data.yaml", runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path, help="where pictures and run folders go (about 1 GB)")
    parser.add_argument("--only", choices=list(stages(Path(), 0)), help="one stage, the others kept")
    parser.add_argument("--processes", type=int, default=2, help="renderers side by side")
    options = parser.parse_args()
    root: Path = options.work_dir.resolve()
    for name, run in stages(root, options.processes).items():
        if options.only in (None, name):
            run()


if __name__ == "__main__":
    main()
