"""The archives that an earlier version left, and what a later one may have left beside them.

`fixtures/shelf` is the folder of models as an earlier version wrote it.
"""

import json
import shutil
from pathlib import Path

import pytest

from siwatsystem import archive, archive_shelf
from siwatsystem.archive_shelf import Shelf
from siwatsystem.config import ModelSettings
from siwatsystem.download import Fetched, Version

KEPT = Path(__file__).parent / "fixtures" / "shelf"
CARS, PLATES = "http://models/cars.mpta", "http://models/plates.pt"
VERSION = {"etag": '"5f3"', "modified": "Sat, 21 Nov 2026 20:00:00 GMT"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shutil.copytree(KEPT, tmp_path / "models")
    return Shelf(tmp_path / "models" / "101", ModelSettings())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_an_earlier_version_fetched_is_there(shelf: Shelf):
    before = contents(shelf.folder)
    cars, plates = shelf.find(CARS), shelf.find(PLATES)
    assert cars is not None
    assert plates is not None
    # Its server is asked whether that is still the state of things, no more.
    assert (cars.version, plates.version) == (Version(**VERSION, size=332), Version(**VERSION, size=13))
    assert archive.read_pipeline(cars.folder)
    assert plates.file.read_bytes() == b"other weights"
    shelf.clear()
    archive_shelf.evict(shelf.folder.parent, 1 << 20, {cars.folder})
    assert contents(shelf.folder) == before


def test_what_a_later_version_recorded_otherwise_is_fetched_again(shelf: Shelf):
    (record,) = (path for path in shelf.folder.glob("*.json") if PLATES in path.read_text())
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"mirrors": ["http://other/plates.pt"]}))
    assert shelf.find(PLATES) is not None
    record.write_text(json.dumps(values | {"version": {**values["version"], "checksum": "crc"}}))
    assert shelf.find(PLATES) is None
    part = shelf.part()
    part.write_bytes(b"other weights")
    copy = shelf.put(PLATES, part, Fetched(values["digest"], Version(size=13), length_known=True))
    assert copy.file.read_bytes() == b"other weights"
    assert shelf.find(PLATES) == copy


def test_folders_that_a_later_version_made_are_left_alone(shelf: Shelf):
    later = {"layout-99/blobs/ab/cd": b"blob", "index.sqlite": b"SQLite", ".layout": b"99"}
    for name, data in later.items():
        (shelf.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shelf.folder / name).write_bytes(data)
    assert shelf.find(CARS) is not None
    shelf.clear()
    archive_shelf.evict(shelf.folder.parent, 0, ())
    now = contents(shelf.folder)
    assert {name: now.get(name) for name in later} == later
    assert shelf.find(CARS) is None
