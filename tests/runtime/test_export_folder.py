"""Room for exports, by value."""

import os
import threading
import time
from pathlib import Path

import pytest

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import export_folder


def export(folder: Path, name: str, hours: float, size: int = 1000) -> Path:
    kept = folder / name
    kept.mkdir()
    (kept / "model.bin").write_bytes(bytes(size))
    lock = folder / f"{name}.lock"
    lock.touch()
    when = time.time() - hours * 3600
    for path in (kept, lock):
        os.utime(path, (when, when))
    return kept


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_longest_unused_goes_with_its_lock_and_what_was_used_just_now_stays(tmp_path: Path):
    for name, hours in (("older", 9), ("old", 5), ("new", 0.1)):
        export(tmp_path, name, hours)
    export_folder.evict(tmp_path, 2500)
    assert names(tmp_path) == {"old", "old.lock", "new", "new.lock"}
    export_folder.evict(tmp_path, 10)
    assert names(tmp_path) == {"new", "new.lock"}


def test_use_keeps_an_export(tmp_path: Path):
    first, _ = export(tmp_path, "first", 9), export(tmp_path, "second", 5)
    export_folder.touch(first)
    export_folder.evict(tmp_path, 1500)
    assert names(tmp_path) == {"first", "first.lock"}


def test_what_is_being_made_is_left_alone(tmp_path: Path):
    kept = export(tmp_path, "busy", 9)
    with export_folder.alone(kept, 1, threading.Event()):
        export_folder.evict(tmp_path, 10)
        assert kept.is_dir()


def test_leftovers_are_cleared_when_they_are_old(tmp_path: Path):
    for name in (".fresh-old", ".fresh-new"):
        (tmp_path / name).mkdir()
    (tmp_path / "failed.lock").touch()
    for name in (".fresh-old", "failed.lock"):
        os.utime(tmp_path / name, (1000, 1000))
    export_folder.evict(tmp_path, 10)
    assert names(tmp_path) == {".fresh-new"}


def test_who_waits_for_another_export_can_be_stopped(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    with (
        export_folder.alone(tmp_path / "one", 60, threading.Event()),
        pytest.raises(ModelInvalid, match="closed"),
        export_folder.alone(tmp_path / "one", 60, stop),
    ):
        pass
