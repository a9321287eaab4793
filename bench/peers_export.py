"""Weights as ultralytics' own exporter writes them, made once and kept.

python -m bench.peers_export WEIGHTS FILE.onnx   writes ONNX for one picture of 384×640
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


if __name__ == "__main__":
    confine()
    shutil.copyfile(exported(Path(sys.argv[1]), "onnx", imgsz=[384, 640]), sys.argv[2])
