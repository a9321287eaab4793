"""Small networks for tests, and what the reference (ultralytics' own `predict`) says with them.

Made in a process of its own by `python -m tests.nets FOLDER`, so that tests need no torch; kept in
pytest's cache. `detect.pt` and `classify.pt` have random weights whose last layer is scaled so that
some boxes pass the threshold and classes differ; where the demo's weights exist, they are there too.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHAPES = [(1080, 1920), (720, 1280), (640, 480), (333, 517), (96, 700), (700, 90), (40, 50), (320, 320)]
LEAST = 0.25


@dataclass(frozen=True)
class Nets:
    """Where the networks lie, the pictures, and the reference's predictions per file and picture."""

    folder: Path
    reference: dict[str, list[Any]]

    def path(self, name: str) -> Path:
        return self.folder / name

    def pictures(self, name: str) -> list[np.ndarray]:
        kind = "demo" if name.startswith("demo-") else "plain"
        with np.load(self.folder / f"{kind}.npz") as kept:
            return [kept[key] for key in sorted(kept.files)]


def demo_weights() -> dict[str, bytes]:
    """The demo's networks by file name; empty before they are trained."""
    archive = ROOT / "demo" / "demo.mpta"
    if not archive.is_file():
        return {}
    with zipfile.ZipFile(archive) as kept:
        return {Path(name).name: kept.read(name) for name in kept.namelist() if name.endswith(".pt")}


@pytest.fixture(scope="session")
def nets(pytestconfig: pytest.Config) -> Nets:
    key = hashlib.sha256(Path(__file__).read_bytes())
    for package in ("ultralytics", "torch", "numpy", "onnx"):
        key.update(version(package).encode())
    for weights in demo_weights().values():
        key.update(weights)
    root = pytestconfig.cache.mkdir("nets")
    folder = root / key.hexdigest()[:16]
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "reference.json").is_file():
            folder.mkdir(exist_ok=True)
            made = subprocess.run(
                [sys.executable, "-m", "tests.nets", str(folder)],
                cwd=ROOT,
                env=os.environ | {"YOLO_CONFIG_DIR": str(folder / "config")},
                capture_output=True,
                text=True,
                timeout=110,
            )
            assert made.returncode == 0, made.stderr[-3000:]
    return Nets(folder, json.loads((folder / "reference.json").read_text()))


def plain_pictures() -> list[np.ndarray]:
    """Smooth noise with rectangles, of very different shapes."""
    import cv2

    rng = np.random.default_rng(7)
    pictures = []
    for height, width in SHAPES:
        coarse = rng.integers(0, 255, (max(height // 24, 2), max(width // 24, 2), 3), np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(6):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            w, h = int(rng.integers(5, 5 + width // 2)), int(rng.integers(5, 5 + height // 2))
            picture[y : y + h, x : x + w] = rng.integers(0, 255, 3)
        pictures.append(np.ascontiguousarray(picture))
    return pictures


def _make(folder: Path) -> None:
    os.environ.update(ULTRALYTICS_SAFE_LOAD="true", YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    import torch

    torch.manual_seed(3)
    pictures = plain_pictures()
    np.savez(folder / "plain.npz", **{f"{i:03}": picture for i, picture in enumerate(pictures)})
    _save(_detector(pictures), folder / "detect.pt", 320, "detect")
    _save(_classifier(pictures), folder / "classify.pt", 64, "classify")
    reference = {name: _predict(folder / name, pictures) for name in ("detect.pt", "classify.pt")}
    for name in ("detect", "classify"):
        for dynamic, suffix in ((True, "dynamic"), (False, "static")):
            made = _export(folder / f"{name}.pt", dynamic)
            target = folder / f"{name}-{suffix}.onnx"
            Path(made).rename(target)
            # Left to itself `predict` gives a network of any size 640 pixels, whatever it was made for.
            reference[target.name] = reference[f"{name}.pt"] if dynamic else _predict(target, pictures)
    reference |= _demo(folder)
    (folder / "reference.json").write_text(json.dumps(reference))


def _demo(folder: Path) -> dict[str, list[Any]]:
    from demo.scenes import render

    weights = demo_weights()
    pictures = [render(3_500_000 + seed, (960, 540)).image for seed in range(4)] if weights else []
    pictures += [picture[60:500, 100:460].copy() for picture in pictures]
    np.savez(folder / "demo.npz", **{f"{i:03}": picture for i, picture in enumerate(pictures)})
    out = {}
    for name, data in weights.items():
        path = folder / f"demo-{name}"
        path.write_bytes(data)
        out[path.name] = _predict(path, pictures)
    return out


def _detector(pictures: list[np.ndarray]) -> Any:
    """A random yolo11n whose best anchors pass the threshold and whose boxes vary in size."""
    import torch
    from ultralytics import YOLO

    net = YOLO("yolo11n.yaml").model
    net.names = {0: "Car", 1: "Frontal", 2: "Plate"}
    head = net.model[-1]
    from ultralytics.nn.modules import Detect

    fresh = Detect(3, ch=tuple(block[0].conv.in_channels for block in head.cv2))
    fresh.stride, fresh.i, fresh.f, fresh.type, fresh.np = head.stride, head.i, head.f, head.type, head.np
    net.model[-1] = fresh
    net.yaml["nc"], net.nc = 3, 3
    net.eval()
    caught: list[torch.Tensor] = []
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
                module.reset_running_stats()
        net.train()
        batch = torch.stack([_square(picture, 320) for picture in pictures])
        net(batch)
        net.eval()
        for boxes, scores in zip(fresh.cv2, fresh.cv3, strict=True):
            boxes[-1].weight.mul_(8)
            scores[-1].bias.zero_()
            hook = scores[-1].register_forward_hook(lambda _m, _i, out: caught.append(out))
            net(batch)
            hook.remove()
            logits = caught.pop()
            gain = 0.4 / logits.std()
            scores[-1].weight.mul_(gain)
            # On the middle picture the best few of a thousand anchors lie above a logit of −1.1 (0.25).
            best = torch.quantile(logits.flatten(1) * gain, 0.9985, dim=1).median()
            scores[-1].bias.fill_(float(-1.1 - best))
    return net


def _classifier(pictures: list[np.ndarray]) -> Any:
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.tasks import ClassificationModel

    net = YOLO("yolo11n-cls.yaml").model
    ClassificationModel.reshape_outputs(net, 4)
    net.names = {0: "Aster", 1: "Borel", 2: "Corvano", 3: "Dynex"}
    net.yaml["nc"] = 4
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
                module.reset_running_stats()
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        net.train()
        batch = torch.stack([_square(picture, 64) for picture in pictures])
        logits = net(batch)
        net.eval()
        linear = net.model[-1].linear
        gain = 1.5 / logits.std(0).mean()
        linear.weight.mul_(gain)
        linear.bias.copy_(-(logits.mean(0) - linear.bias) * gain)
    return net


def _square(picture: np.ndarray, side: int) -> Any:
    import cv2
    import torch

    small = cv2.resize(picture, (side, side))[..., ::-1].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(small)).float() / 255


def _save(net: Any, path: Path, size: int, task: str) -> None:
    import torch

    for parameter in net.parameters():
        parameter.requires_grad = False
    net.args = {"imgsz": size, "task": task}
    torch.save({"model": net, "train_args": {"imgsz": size, "task": task}}, path)


def _export(path: Path, dynamic: bool) -> str:
    from ultralytics import YOLO

    return YOLO(str(path)).export(format="onnx", dynamic=dynamic, device="cpu", simplify=False, verbose=False)


def _predict(path: Path, pictures: list[np.ndarray]) -> list[Any]:
    from ultralytics import YOLO

    model = YOLO(str(path), task="classify" if "classify" in path.name else None)
    out: list[Any] = []
    for picture in pictures:
        result = model.predict(picture, conf=LEAST, verbose=False, device="cpu")[0]
        if result.probs is not None:
            out.append({result.names[i]: p for i, p in enumerate(result.probs.data.tolist())})
            continue
        rows = zip(
            result.boxes.cls.tolist(), result.boxes.conf.tolist(), result.boxes.xyxy.tolist(), strict=True
        )
        out.append([[result.names[int(index)], confidence, box] for index, confidence, box in rows])
    return out


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
