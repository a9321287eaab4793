"""The export: a process of its own, within limits, once per digest."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import auto, export_cache
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.metadata import Metadata
from tests.nets import ROOT, Nets

SETTINGS = RuntimeSettings(device="cpu", backend="openvino")


def test_is_kept_by_digest_and_not_made_again(nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    xml, metadata = export_cache.exported(nets.path("classify.pt"), SETTINGS, tmp_path)
    made = xml.stat().st_mtime_ns
    assert (metadata.task, metadata.input_size) == ("classify", (64, 64))
    assert list(metadata.names.values()) == ["Aster", "Borel", "Corvano", "Dynex"]
    copy = tmp_path / "under another name.pt"
    copy.write_bytes(nets.path("classify.pt").read_bytes())
    monkeypatch.setattr(subprocess, "Popen", None)
    again, same = export_cache.exported(copy, SETTINGS, tmp_path)
    assert (again, same, again.stat().st_mtime_ns) == (xml, metadata, made)


def test_asked_for_twice_at_once_is_made_once(nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started: list[object] = []
    start = subprocess.Popen

    def counted(*arguments, **options):
        started.append(arguments)
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    found: list[Path] = []

    def ask() -> None:
        found.append(export_cache.exported(nets.path("classify.pt"), SETTINGS, tmp_path)[0])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert len(started) == 1
    assert len(found) == 3
    assert len(set(found)) == 1


def exports(cache: Path) -> list[Path]:
    """What lies there beside locks and how trials went."""
    return [path for path in cache.iterdir() if path.suffix != ".lock" and path.name != ".trials"]


def gone(pid: int) -> bool:
    """Whether a killed process ends; on a busy machine that takes its turn."""
    status, end = Path(f"/proc/{pid}/stat"), time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if status.read_text().split()[2] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"anything")
    child = tmp_path / "child"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > '{child}'\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    settings = RuntimeSettings(device="cpu", export_timeout_sec=2)
    with pytest.raises(ModelInvalid, match="took over 2 s"):
        export_cache.exported(weights, settings, tmp_path / "cache")
    assert gone(int(child.read_text()))
    assert not exports(tmp_path / "cache")
    with pytest.raises(ModelInvalid, match="not tried again for"):
        export_cache.exported(weights, settings, tmp_path / "cache")


def test_one_that_needs_too_much_memory_fails_alone(nets: Nets, tmp_path: Path):
    settings = RuntimeSettings(device="cpu", export_memory_mb=512)
    with pytest.raises(ModelInvalid, match="512 MB"):
        export_cache.exported(nets.path("classify.pt"), settings, tmp_path)
    assert not exports(tmp_path)


def test_one_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"anything")
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho something broke >&2\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ModelInvalid, match=r"was killed with SIGKILL \(something broke"):
        export_cache.exported(weights, SETTINGS, tmp_path / "cache")


def test_the_exporting_process_sees_no_secret_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"anything")
    seen = tmp_path / "environment"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nenv > '{seen}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("SIWAT_CONTROL_TOKEN", "the-secret")
    with pytest.raises(ModelInvalid):
        export_cache.exported(weights, SETTINGS, tmp_path / "cache")
    assert "PATH=" in seen.read_text()
    assert "the-secret" not in seen.read_text()


def test_confined_means_no_connection_and_a_memory_limit():
    code = """
import resource, socket
from siwatsystem.runtime.confine import confine
confine(2048)
print(resource.getrlimit(resource.RLIMIT_AS)[0] // 2**20)
for call, given in ((socket.create_connection, ("127.0.0.1", 9)), (socket.getaddrinfo, "example.org")):
    try:
        call(given, 1)
    except PermissionError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[0] == "2048", done.stderr
    assert len([line for line in lines if "an export has no network" in line]) == 2


def test_a_damaged_kept_export_is_made_again(nets: Nets, tmp_path: Path):
    xml, _ = export_cache.exported(nets.path("classify.pt"), SETTINGS, tmp_path)
    xml.write_text("<net>cut")
    backend = auto.load(nets.path("classify.pt"), SETTINGS, "exact", tmp_path)
    picture = nets.pictures("classify.pt")[0]
    assert backend.infer([Picture(picture)])[0]
    backend.close()


def test_serving_a_kept_export_loads_no_torch_and_writes_nothing_at_home(nets: Nets, tmp_path: Path):
    cache, home = tmp_path / "cache", tmp_path / "home"
    home.mkdir()
    export_cache.exported(nets.path("detect.pt"), SETTINGS, cache)
    code = f"""
import sys
from pathlib import Path
import numpy as np
connections = []
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo"):
        connections.append((event, given))
sys.addaudithook(watch)
from siwatsystem.config import RuntimeSettings
from siwatsystem.runtime import auto
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.metadata import Metadata
settings = RuntimeSettings(device="cpu")
for name in ("detect.pt", "detect-dynamic.onnx"):
    backend = auto.load(Path({str(nets.folder)!r}) / name, settings, "exact", Path({str(cache)!r}))
    backend.infer([Picture(np.zeros((360, 640, 3), np.uint8))])
print([name for name in ("torch", "ultralytics") if name in sys.modules], connections)
"""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("YOLO", "XDG", "MPL"))
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.strip() == "[] []", done.stderr
    assert done.returncode == 0
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("damage", ["metadata cut", "metadata garbage", "empty folder", "a file", "no bin"])
def test_remains_of_an_export_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str):
    """The exporter is stood in for; what lies there is what this version, or a power cut, leaves."""
    made: list[Path] = []

    def export(weights: Path, folder: Path, *_: object) -> None:
        made.append(weights)
        metadata = Metadata("classify", {0: "a"}, (64, 64)).to_json()
        for name, text in (("model.xml", "<net/>"), ("model.bin", "w"), ("metadata.json", metadata)):
            (folder / name).write_text(text)

    monkeypatch.setattr(export_cache, "_run", export)
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"anything")
    cache = tmp_path / "cache"
    xml, metadata = export_cache.exported(weights, SETTINGS, cache)
    assert export_cache.exported(weights, SETTINGS, cache) == (xml, metadata)
    assert len(made) == 1
    kept = xml.parent
    if damage in ("empty folder", "a file"):
        shutil.rmtree(kept)
        kept.write_text("") if damage == "a file" else kept.mkdir()
    elif damage == "no bin":
        xml.with_suffix(".bin").unlink()
    else:
        whole = (kept / "metadata.json").read_text()
        (kept / "metadata.json").write_text(whole[:20] if "cut" in damage else "\x00[" * 9000)
    # What an export that was killed leaves, and what another version keeps, harm nobody and stay.
    (cache / ".fresh-killed").mkdir()
    newer = cache / f"{kept.name.split('-')[0]}-ffffffff"
    newer.mkdir()
    (newer / "model.v2").write_text("another layout")
    assert export_cache.exported(weights, SETTINGS, cache) == (xml, metadata)
    assert len(made) == 2
    assert (newer / "model.v2").read_text() == "another layout"
