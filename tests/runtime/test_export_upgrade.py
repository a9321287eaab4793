"""The cache of exports that an earlier version left, and what a later one may have left in it.

`fixtures/exports.zip` holds weights and the cache as a version without trials wrote it.
"""

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.runtime import auto, export_cache
from siwatsystem.runtime.backend import Picture

KEPT = Path(__file__).parent / "fixtures" / "exports.zip"
EXPORTER = "bbea0c17"
"""What the exporting packages of then amount to; others rightly export anew."""
SETTINGS = RuntimeSettings(device="cpu", backend="openvino")


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with zipfile.ZipFile(KEPT) as kept:
        kept.extractall(tmp_path)

    def exporter(_kind: export_cache.Kind) -> str:
        return EXPORTER

    monkeypatch.setattr(export_cache, "_exporter", exporter)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_versions_export_is_tried_and_served(earlier: Path, monkeypatch: pytest.MonkeyPatch):
    cache, started = earlier / "exports", []
    before, start = contents(cache), subprocess.Popen

    def counted(command, *more, **options):  # type: ignore[no-untyped-def]
        if command[2:3] == ["-m"]:
            started.append(command[3])
        return start(command, *more, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    for _ in range(2):
        backend = auto.load(earlier / "weights.pt", SETTINGS, "exact", cache)
        (seen,) = backend.infer([Picture(np.full((32, 32, 3), 99, np.uint8))])
        backend.close()
        assert seen.class_name == "Night"  # type: ignore[union-attr]
        # As the version that exported it said.
        assert seen.confidence == pytest.approx(0.5738, abs=1e-3)  # type: ignore[union-attr]
    assert started == ["siwatsystem.runtime.trial_run"]
    assert {name: data for name, data in contents(cache).items() if ".trials" not in name} == before


def test_what_a_later_version_left_is_left_alone(earlier: Path):
    cache = earlier / "exports"
    export = next(path for path in cache.iterdir() if path.is_dir())
    later = {
        f"{export.name[:-8]}99999999/model.xml": b"<net version='99'/>",
        f"{export.name[:-8]}99999999/model.bin": b"weights",
        f"{export.name[:-8]}99999999/metadata.json": b'{"format": 99}',
        f"{export.name[:-8]}99999999/more/tables.json": b"{}",
        ".trials/0123456789abcdef0123456789abcdef.json": b'{"format": 99, "passed": "perhaps"}',
        ".layout/99": b"unknown",
    }
    for name, data in later.items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(data)
    auto.load(earlier / "weights.pt", SETTINGS, "exact", cache).close()
    now = contents(cache)
    assert {name: now.get(name) for name in later} == later


def test_a_later_versions_metadata_with_more_in_it_is_read(earlier: Path):
    (file,) = (earlier / "exports").glob("*/metadata.json")
    text = file.read_text().replace('"stride"', '"anchors": [1, 2],\n "stride"')
    file.write_text(text)
    _, metadata = export_cache.exported(earlier / "weights.pt", SETTINGS, earlier / "exports")
    assert (metadata.task, metadata.input_size) == ("classify", (32, 32))
    assert file.read_text() == text
