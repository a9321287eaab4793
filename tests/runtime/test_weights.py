"""Weights come from others: what a pickle names never runs."""

import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime import auto
from tests.nets import ROOT, Nets


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch '{self.proof}'",)


def hostile_zip(path: Path, proof: Path) -> None:
    """A checkpoint as torch.save writes it (a zip with data.pkl), with something else in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps({"model": Hostile(proof)}, protocol=2))
        archive.writestr("weights/version", "3\n")


def hostile_bare(path: Path, proof: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Hostile(proof)}))


@pytest.mark.parametrize("make", [hostile_zip, hostile_bare])
@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.filterwarnings("default")
def test_a_hostile_checkpoint_is_refused_and_never_runs(make, backend, tmp_path: Path):
    weights, proof = tmp_path / "it's a model.pt", tmp_path / "proof"
    make(weights, proof)
    settings = RuntimeSettings(device="cpu", backend=backend)
    with pytest.raises(ModelRefused) as refused:
        auto.load(weights, settings, "exact", tmp_path / "cache")
    assert refused.value.code == "model_refused"
    assert refused.value.permanent
    assert not proof.exists()


def test_the_same_file_does_run_without_the_restricted_loader(tmp_path: Path):
    weights, proof = tmp_path / "weights.pt", tmp_path / "proof"
    hostile_bare(weights, proof)
    with weights.open("rb") as stream:
        pickle.load(stream)
    assert proof.exists(), "the two tests above would pass with a harmless file"


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\x80\x02nonsense", random.Random(1).randbytes(5000), b"PK\x03\x04 cut short"],
    ids=["empty", "text", "cut pickle", "noise", "cut zip"],
)
@pytest.mark.filterwarnings("default")
def test_what_is_no_checkpoint_is_invalid(data: bytes, tmp_path: Path):
    """Loaded here, without a trial, whose process takes seconds to start; the next test has one."""
    weights = tmp_path / "broken.pt"
    weights.write_bytes(data)
    settings = RuntimeSettings(device="cpu", backend="torch", trial=False)
    with pytest.raises(ModelInvalid):
        auto.load(weights, settings, "exact", tmp_path / "cache")


@pytest.mark.filterwarnings("default")
def test_a_truncated_checkpoint_is_invalid(nets: Nets, tmp_path: Path):
    weights = tmp_path / "cut.pt"
    data = nets.path("classify.pt").read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    for backend in ("torch", "openvino"):
        with pytest.raises(ModelInvalid):
            auto.load(weights, RuntimeSettings(device="cpu", backend=backend), "exact", tmp_path / "cache")


@pytest.mark.parametrize("name", ["yolo11n.pt", "yolov5s.pt"])
def test_a_missing_file_is_never_downloaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        auto.load(Path(name), RuntimeSettings(device="cpu", backend="torch"), "exact", tmp_path)


def test_a_name_that_the_library_would_rewrite_is_loaded_as_it_stands(nets: Nets, tmp_path: Path):
    weights = tmp_path / "yolov5s.pt"
    weights.write_bytes(nets.path("classify.pt").read_bytes())
    backend = auto.load(
        weights, RuntimeSettings(device="cpu", backend="openvino"), "exact", tmp_path / "cache"
    )
    assert backend.task == "classify"
    backend.close()


def test_without_the_restricted_loader_nothing_is_loaded(nets: Nets, tmp_path: Path):
    code = f"""
import os
os.environ["ULTRALYTICS_SAFE_LOAD"] = "false"
os.environ["YOLO_CONFIG_DIR"] = {str(tmp_path)!r}
import ultralytics.nn.tasks
from pathlib import Path
from siwatsystem.errors import ModelRefused
from siwatsystem.runtime.weights import load_checkpoint
try:
    load_checkpoint(Path({str(nets.path("classify.pt"))!r}))
except ModelRefused as refused:
    print("refused:", refused)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert "refused: weights are only loaded by the restricted loader" in done.stdout, done.stderr


def test_only_detection_and_classification_are_served(tmp_path: Path):
    code = f"""
import os
os.environ["YOLO_CONFIG_DIR"] = {str(tmp_path)!r}
from pathlib import Path
from siwatsystem.runtime.silence import silence
silence()
import torch
from ultralytics import YOLO
net = YOLO("yolo11n-pose.yaml").model
torch.save({{"model": net, "train_args": {{"imgsz": 64}}}}, {str(tmp_path / "pose.pt")!r})
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.weights import load_checkpoint
try:
    load_checkpoint(Path({str(tmp_path / "pose.pt")!r}))
except ModelInvalid as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert "task is 'pose'" in done.stdout, done.stderr
