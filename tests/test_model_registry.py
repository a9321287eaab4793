"""One loaded model per file digest, whatever number of pipelines use it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from siwatsystem import model_registry
from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Classification
from siwatsystem.errors import ModelInvalid
from siwatsystem.model_registry import LoadingStuck, ModelRegistry
from siwatsystem.runtime import auto, processor
from siwatsystem.runtime.batcher import ModelClosed
from tests.nets import ROOT, Nets, nets

__all__ = ["nets"]

SETTINGS = RuntimeSettings(device="cpu")


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "exported"


@pytest.fixture
def registry(cache: Path) -> Iterator[ModelRegistry]:
    registry = ModelRegistry(SETTINGS, cache)
    yield registry
    registry.close()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are loaded, in order; loading waits for nothing."""
    seen: list[str] = []
    load = auto.load

    def counted(path: Path, *rest):
        seen.append(path.name)
        return load(path, *rest)

    monkeypatch.setattr(auto, "load", counted)
    return seen


def test_a_model_predicts(registry: ModelRegistry, nets: Nets):
    model = registry.acquire("brand", nets.path("classify.pt"))
    prediction = model.predict(nets.pictures("classify.pt")[0])
    assert isinstance(prediction, Classification)
    assert prediction.probabilities == pytest.approx(nets.reference["classify.pt"][0], abs=1e-3)
    assert (model.task, model.runtime, model.input_size) == ("classify", "openvino", (64, 64))
    assert model.names[0] == "Aster"
    with pytest.raises(ValueError, match="no picture"):
        model.predict(nets.pictures("classify.pt")[0][..., 0])


def test_the_same_file_is_loaded_once_under_any_id_or_name(
    registry: ModelRegistry, nets: Nets, tmp_path: Path, loads: list[str]
):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(nets.path("classify.pt").read_bytes())
    first = registry.acquire("a", nets.path("classify.pt"))
    assert registry.acquire("a", nets.path("classify.pt")) is first
    assert registry.acquire("b", copy) is first
    assert loads == ["classify.pt"]
    status = registry.status()
    assert (status["total_models"], status["total_references"]) == (2, 3)
    assert status["models"]["a"]["reference_count"] == 2
    assert status["models"]["b"]["file_path"] == str(copy)


def test_the_last_reference_closes_it(registry: ModelRegistry, nets: Nets):
    model = registry.acquire("a", nets.path("classify.pt"))
    registry.acquire("b", nets.path("classify.pt"))
    registry.release("a")
    assert model.predict(nets.pictures("classify.pt")[0])
    registry.release("a")
    registry.release("b")
    assert registry.status() == {"total_models": 0, "models": {}, "total_references": 0}
    with pytest.raises(ModelClosed):
        model.predict(nets.pictures("classify.pt")[0])
    assert registry.acquire("a", nets.path("classify.pt")) is not model


def test_an_id_whose_file_was_replaced_gives_back_what_is_meant(registry: ModelRegistry, nets: Nets):
    old = registry.acquire("a", nets.path("classify.pt"))
    new = registry.acquire("a", nets.path("classify-static.onnx"))
    registry.release("a", old)
    assert new.predict(nets.pictures("classify.pt")[0])
    with pytest.raises(ModelClosed):
        old.predict(nets.pictures("classify.pt")[0])


def test_asked_for_by_many_at_once_it_is_loaded_once(registry: ModelRegistry, nets: Nets, loads: list[str]):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(registry.acquire("a", nets.path("classify.pt"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert loads == ["classify.pt"]
    assert len(found) == 8
    assert len({id(model) for model in found}) == 1
    assert registry.status()["total_references"] == 8


def test_two_models_load_side_by_side(registry: ModelRegistry, nets: Nets, monkeypatch: pytest.MonkeyPatch):
    meeting, load = threading.Barrier(2, timeout=60), auto.load

    def meet(*arguments):
        meeting.wait()  # breaks unless both are being loaded at the same time
        return load(*arguments)

    monkeypatch.setattr(auto, "load", meet)
    names = ["classify-static.onnx", "classify-dynamic.onnx"]
    found = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(registry.acquire(name, nets.path(name))))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert len(found) == 2


def test_a_failure_is_told_to_all_who_wait_and_leaves_nothing(
    registry: ModelRegistry, nets: Nets, monkeypatch: pytest.MonkeyPatch
):
    begun, go, calls = threading.Event(), threading.Event(), []

    def fail(path: Path, *_):
        calls.append(path)
        begun.set()
        go.wait(60)
        raise ModelInvalid("no such luck")

    monkeypatch.setattr(auto, "load", fail)
    told: list[str] = []

    def ask() -> None:
        try:
            registry.acquire("a", nets.path("classify.pt"))
        except ModelInvalid as error:
            told.append(error.message)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    while registry.status()["total_references"] < 4:
        threading.Event().wait(0.01)
    go.set()
    for thread in threads:
        thread.join(60)
    assert told == ["no such luck"] * 4
    assert len(calls) == 1
    assert registry.status()["total_references"] == 0
    monkeypatch.undo()
    assert registry.acquire("a", nets.path("classify.pt"))


def test_missing_files_and_unknown_ids(registry: ModelRegistry, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        registry.acquire("a", tmp_path / "absent.pt")
    registry.release("never heard of")
    assert registry.status()["total_references"] == 0


def test_fast_is_loaded_when_it_is_first_used(registry: ModelRegistry, nets: Nets):
    model = registry.acquire("a", nets.path("classify.pt"))
    assert model.fast_available is processor.has_bf16()
    assert not model.fast_loaded
    if not model.fast_available:
        with pytest.raises(ModelInvalid):
            model.ensure_fast()
        return
    picture = nets.pictures("classify.pt")[0]
    exact, fast = model.predict(picture), model.predict(picture, precision="fast")
    assert model.fast_loaded
    assert exact.probabilities == pytest.approx(fast.probabilities, abs=0.1)
    assert exact.probabilities != fast.probabilities
    assert model.predict(picture).probabilities == exact.probabilities


def test_loading_fast_ends_when_whoever_asked_gives_up(
    registry: ModelRegistry, nets: Nets, monkeypatch: pytest.MonkeyPatch
):
    model = registry.acquire("a", nets.path("classify.pt"))
    model.fast_available = True
    building, load = threading.Event(), auto.load

    def slow(path: Path, settings: RuntimeSettings, precision: str, cache_dir: Path, stop: threading.Event):
        if precision == "exact":
            return load(path, settings, precision, cache_dir, stop)
        building.set()
        assert stop.wait(60)
        raise ModelInvalid("closed")

    monkeypatch.setattr(auto, "load", slow)
    builds, waits = threading.Event(), threading.Event()
    told: list[str] = []

    def ask(stop: threading.Event) -> None:
        with pytest.raises(ModelInvalid, match="closed"):
            model.ensure_fast(stop)
        told.append("builds" if stop is builds else "waits")

    threads = [threading.Thread(target=ask, args=(stop,)) for stop in (builds, waits)]
    threads[0].start()
    assert building.wait(60)
    threads[1].start()
    for stop, thread in ((waits, threads[1]), (builds, threads[0])):
        assert thread.is_alive()
        stop.set()
        thread.join(60)
    assert told == ["waits", "builds"]
    assert not model.fast_loaded


def test_the_fixed_names_work_on_one_process_wide_registry(nets: Nets, cache: Path):
    registry = ModelRegistry(SETTINGS, cache)
    model_registry.set_default_registry(registry)
    try:
        model = model_registry.get_shared_model("a", str(nets.path("classify.pt")))
        assert model_registry.get_shared_model("a", nets.path("classify.pt")) is model
        status = model_registry.get_registry_status()
        assert status["models"]["a"]["reference_count"] == 2
        assert status["total_models"] == 1
        model_registry.release_shared_model("a")
        assert model_registry.get_registry_status()["total_references"] == 1
        model_registry.cleanup_registry()
        assert model_registry.get_registry_status() == {
            "total_models": 0,
            "models": {},
            "total_references": 0,
        }
        with pytest.raises(FileNotFoundError):
            model_registry.get_shared_model("a", "/nowhere/model.pt")
    finally:
        model_registry.set_default_registry(None)
        registry.close()


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_the_interpreter_ends_well_with_models_alive_and_at_work(nets: Nets, cache: Path, backend: str):
    name = {"openvino": "detect.pt", "onnx": "detect-dynamic.onnx"}[backend]
    code = f"""
import threading, time
from pathlib import Path
from typing import Any, ClassVar, cast
import numpy as np
from siwatsystem import model_registry
from siwatsystem.config import RuntimeSettings
settings = RuntimeSettings(device="cpu", backend={backend!r})
registry = model_registry.ModelRegistry(settings, Path({str(cache)!r}))
model_registry.set_default_registry(registry)
model = model_registry.get_shared_model("a", {str(nets.path(name))!r})
count = 0
def work():
    global count
    while True:
        model.predict(np.zeros((720, 1280, 3), np.uint8))
        count += 1
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
while count < 5:
    time.sleep(0.01)
print("leaving")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.strip()) == (0, "leaving"), done.stderr[-2000:]


def test_closing_kills_a_running_export_with_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights, child, program = (tmp_path / name for name in ("weights.pt", "child", "python"))
    weights.write_bytes(b"anything")
    program.write_text(
        f"#!/bin/sh\nsleep 300 &\necho $! > '{child}.part'\nmv '{child}.part' '{child}'\nwait\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    settings = RuntimeSettings(device="cpu", backend="openvino")
    registry = ModelRegistry(settings, tmp_path / "cache")
    told: list[str] = []

    def ask() -> None:
        try:
            registry.acquire("a", weights)
        except ModelInvalid as error:
            told.append(error.message)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while not child.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    registry.close()
    for thread in threads:
        thread.join(60)
    assert told[:1] == ["closed"]
    assert len(told) == 2
    status = Path(f"/proc/{child.read_text().strip()}/stat")
    end = time.monotonic() + 30
    while status.exists() and status.read_text().split()[2] not in "ZX":
        assert time.monotonic() < end
        time.sleep(0.05)


class HangsOnce:
    """A model whose first loading hangs until `go`."""

    go = threading.Event()
    loaded: ClassVar[list["HangsOnce"]] = []

    def __init__(self, path: Path, sha256: str, *_: object) -> None:
        self.digest, self.closed = sha256, False
        self.loaded.append(self)
        if len(self.loaded) == 1:
            assert self.go.wait(30)

    def close(self) -> None:
        self.closed = True


def test_a_model_whose_loading_hangs_is_loaded_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_registry, "longest_load", lambda settings: 0.2)
    file = tmp_path / "a.onnx"
    file.write_bytes(b"network")
    registry, kind = ModelRegistry(SETTINGS, tmp_path / "cache"), cast(Any, HangsOnce)
    first = threading.Thread(target=registry._acquire, args=("one", file, kind))
    first.start()
    while not HangsOnce.loaded:
        time.sleep(0.005)
    with pytest.raises(LoadingStuck) as stuck:
        registry._acquire("one", file, kind)
    assert not stuck.value.permanent
    model = registry._acquire("one", file, kind)
    assert registry._acquire("two", file, kind) is model
    HangsOnce.go.set()
    first.join(30)
    assert len(HangsOnce.loaded) == 2
    registry.release("one")  # the oldest: that which hung
    assert [one.closed for one in HangsOnce.loaded] == [True, False]
    registry.release("one")
    registry.release("two")
    assert HangsOnce.loaded[1].closed
