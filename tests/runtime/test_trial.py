"""Files that crash, hang or fill the memory do so in a process of their own, once."""

import subprocess
import threading
import time
from pathlib import Path

import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import auto, export_cache, trial, verdicts
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.trial import Trial
from tests.nets import Nets
from tests.runtime import hostile

CPU = RuntimeSettings(device="cpu")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the processes that were started to run something of ours."""
    commands: list[list[str]] = []
    start = subprocess.Popen

    def counted(command, *more, **options):  # type: ignore[no-untyped-def]
        if command[2:3] == ["-m"]:
            commands.append(command)
        return start(command, *more, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    return commands


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time
    monkeypatch.setattr(verdicts.time, "time", lambda: now() + seconds)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_model_that_never_answers_is_refused_and_left_alone_for_a_while(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]], backend: str
):
    path = hostile.endless(nets.path("classify-static.onnx"), tmp_path / "endless.onnx")
    settings = RuntimeSettings(device="cpu", backend=backend, trial_timeout_sec=2)  # type: ignore[arg-type]
    with pytest.raises(ModelInvalid, match=r"endless\.onnx: its trial with \w+ took over 2 s"):
        auto.load(path, settings, "exact", tmp_path / "cache")
    with pytest.raises(ModelInvalid, match="took over 2 s; it is not tried again for"):
        auto.load(path, settings, "exact", tmp_path / "cache")
    assert len(started) == 1
    # A machine that was slow once must not condemn the model: later, or with other limits, it is tried.
    later(monkeypatch, verdicts.FIRST_REST_SEC + 1)
    with pytest.raises(ModelInvalid, match=r"took over 2 s$"):
        auto.load(path, settings, "exact", tmp_path / "cache")
    assert len(started) == 2


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_model_that_fills_the_memory_is_refused(nets: Nets, tmp_path: Path, backend: str):
    path = hostile.huge(nets.path("classify-static.onnx"), tmp_path / "huge.onnx")
    settings = RuntimeSettings(device="cpu", backend=backend)  # type: ignore[arg-type]
    with pytest.raises(ModelInvalid, match=r"huge\.onnx: loading or running it needs more memory"):
        auto.load(path, settings, "exact", tmp_path / "cache")
    with pytest.raises(ModelInvalid, match="not tried again"):
        auto.load(path, settings, "exact", tmp_path / "cache")


@pytest.mark.parametrize(
    ("death", "said", "kept"),
    [
        ("SIGSEGV", "crashed with SIGSEGV", True),
        ("SIGABRT", "crashed with SIGABRT", True),
        ("exit", "ended with status 3", True),
        ("SIGKILL", "was killed with SIGKILL", False),
    ],
)
def test_a_runtime_that_dies_takes_nothing_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[list[str]],
    death: str,
    said: str,
    kept: bool,
):
    monkeypatch.setattr(trial, "_PROCESS", "tests.runtime.crashing")
    path = tmp_path / "weights.onnx"
    path.write_text(death)
    for tries in (1, 2):
        with pytest.raises(ModelInvalid, match=said):
            auto.load(path, CPU, "exact", tmp_path / "cache")
        # Who kills from outside (the kernel for want of memory, an administrator) says nothing of the model.
        assert len(started) == (1 if kept else tries)


def test_what_passed_is_loaded_at_once_until_the_runtime_is_another(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
):
    for _ in range(2):
        backend = auto.load(nets.path("classify-static.onnx"), CPU, "exact", tmp_path)
        assert backend.infer([Picture(nets.pictures("classify-static.onnx")[0])])[0]
        backend.close()
    assert len(started) == 1
    for kept in (tmp_path / ".trials").iterdir():
        kept.write_text('{"pas')  # cut short by a full disk
    auto.load(nets.path("classify-static.onnx"), CPU, "exact", tmp_path).close()
    assert len(started) == 2
    monkeypatch.setattr(trial, "_versions", lambda _runtime: ("99.0",))
    auto.load(nets.path("classify-static.onnx"), CPU, "exact", tmp_path).close()
    assert len(started) == 3
    auto.load(nets.path("classify-static.onnx"), CPU.model_copy(update={"threads": 1}), "exact", tmp_path)
    assert len(started) == 4


def test_a_folder_that_takes_nothing_only_costs_time(nets: Nets, tmp_path: Path, started: list[list[str]]):
    (tmp_path / ".trials").write_text("a file where the folder should be")
    for _ in range(2):
        auto.load(nets.path("classify-static.onnx"), CPU, "exact", tmp_path).close()
    assert len(started) == 2


def test_weights_are_tried_by_the_process_that_exports_them(
    nets: Nets, tmp_path: Path, started: list[list[str]]
):
    for _ in range(2):
        auto.load(nets.path("classify.pt"), CPU, "exact", tmp_path).close()
    assert [command[3] for command in started] == ["siwatsystem.runtime.export"]


def test_a_kept_export_that_crashes_is_made_anew(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
):
    xml, _ = export_cache.exported(nets.path("classify.pt"), CPU, tmp_path)
    whole = xml.with_suffix(".bin").read_bytes()
    xml.with_suffix(".bin").write_bytes(whole[: len(whole) // 2])
    auto.load(nets.path("classify.pt"), CPU, "exact", tmp_path).close()
    assert xml.with_suffix(".bin").read_bytes() == whole
    ran = ["siwatsystem.runtime.export", "siwatsystem.runtime.trial_run", "siwatsystem.runtime.export"]
    assert [command[3] for command in started] == ran


def test_a_kept_export_is_not_made_anew_for_what_is_left_alone(
    nets: Nets, tmp_path: Path, started: list[list[str]]
):
    xml, _ = export_cache.exported(nets.path("classify.pt"), CPU, tmp_path)
    tried = trial.Trial("openvino", xml, CPU, "exact", encoder=True)
    trial.verdicts(tmp_path).keep_failed(tried.key(), "it took over 120 s")
    for _ in range(2):
        with pytest.raises(ModelInvalid, match="it took over 120 s; it is not tried again"):
            auto.load_encoder(nets.path("classify.pt"), CPU, "exact", tmp_path)
    assert [command[3] for command in started] == ["siwatsystem.runtime.export"]
    auto.load(nets.path("classify.pt"), CPU, "exact", tmp_path).close()
    assert len(started) == 1


def test_an_end_while_it_is_tried_says_nothing_of_the_model(nets: Nets, tmp_path: Path):
    path = hostile.endless(nets.path("classify-static.onnx"), tmp_path / "endless.onnx")
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    with pytest.raises(ModelInvalid, match="closed"):
        auto.load(path, CPU, "exact", tmp_path / "cache", stop)
    assert not (tmp_path / "cache").exists()


def test_one_that_only_fails_is_loaded(nets: Nets, tmp_path: Path):
    path = hostile.failing(nets.path("classify-static.onnx"), tmp_path / "failing.onnx")
    backend = auto.load(path, CPU, "exact", tmp_path)
    with pytest.raises(Exception, match="division by zero"):
        backend.infer([Picture(nets.pictures("classify-static.onnx")[0])])
    backend.close()


def test_weights_for_torch_and_an_encoder_are_tried_too(nets: Nets, tmp_path: Path, started: list[list[str]]):
    torch = CPU.model_copy(update={"backend": "torch"})
    auto.load(nets.path("classify.pt"), torch, "exact", tmp_path).close()
    auto.load_encoder(nets.path("classify-static.onnx"), CPU, "exact", tmp_path).close()
    with pytest.raises(ModelInvalid, match="no features of a whole picture"):
        auto.load_encoder(nets.path("detect-static.onnx"), CPU, "exact", tmp_path)
    assert len(started) == 3


def test_who_trusts_his_models_can_do_without(nets: Nets, tmp_path: Path, started: list[list[str]]):
    settings = CPU.model_copy(update={"trial": False})
    auto.load(nets.path("classify-static.onnx"), settings, "exact", tmp_path).close()
    assert started == []


def test_weights_on_a_gpu_are_tried_on_the_processor_and_engines_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "use_cuda", lambda settings: settings.device != "cpu")
    settings = RuntimeSettings()
    tried = Trial("torch", Path("weights.pt"), settings, "fast")._tried
    assert (tried.settings.device, tried.precision, tried.limits().address_space_mb) == ("cpu", "exact", 8192)
    engine = Trial("tensorrt", Path("model.engine"), settings, "exact")
    assert (engine._tried, engine.limits().address_space_mb) == (engine, 0)
