"""Weights as the sides of a bench need them, made once and kept.

python -m bench.peers_export onnx WEIGHTS FILE.onnx     for one 16:9 picture
python -m bench.peers_export resize WEIGHTS FILE.pt SIZE   to be run at SIZE, which is kept in them
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from bench.peers_child import confine
from bench.peers_process import FOLDER


def input_of(weights: Path) -> tuple[int, int]:
    """Height and width that a 16:9 picture is brought to by all sides: what the weights ask for, less
    the rows of 32 that would be padding alone."""
    from ultralytics import YOLO

    size: int = YOLO(str(weights)).overrides["imgsz"]
    return -(-round(size * 9 / 16) // 32) * 32, size


def resized(weights: Path, path: Path, size: int) -> None:
    """Write the same weights to be run at `size`: both sides take it from their training arguments."""
    import torch

    checkpoint = torch.load(weights, map_location="cpu", weights_only=False)  # our own weights
    checkpoint["train_args"]["imgsz"] = size
    network = checkpoint.get("ema") or checkpoint["model"]
    network.args = {**network.args, "imgsz": size} if isinstance(network.args, dict) else network.args
    torch.save(checkpoint, path)


def exported(weights: Path, kind: Literal["openvino", "onnx"], **options: object) -> Path:
    """The OpenVINO folder or the ONNX file; `options` are those of `YOLO.export`."""
    from ultralytics import YOLO, __version__

    recipe = json.dumps([__version__, kind, options], sort_keys=True).encode() + weights.read_bytes()
    folder = FOLDER / f"{kind}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    name = "weights_openvino_model" if kind == "openvino" else "weights.onnx"
    if not folder.exists():
        fresh = FOLDER / f".{folder.name}-{os.getpid()}"
        fresh.mkdir(parents=True)
        try:
            shutil.copyfile(weights, fresh / "weights.pt")
            YOLO(str(fresh / "weights.pt")).export(format=kind, device="cpu", verbose=False, **options)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder / name


def main(arguments: list[str]) -> None:
    confine()
    wanted, weights, path = arguments[0], Path(arguments[1]), Path(arguments[2])
    if wanted == "onnx":
        shutil.copyfile(exported(weights, "onnx", imgsz=list(input_of(weights))), path)
    else:
        resized(weights, path, int(arguments[3]))


if __name__ == "__main__":
    main(sys.argv[1:])
