import json
import zipfile
from pathlib import Path

import pytest

from demo.pack import ARCHIVE, PIPELINE, model_files, pack


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in model_files(json.loads(PIPELINE.read_text())["pipeline"]):
        (folder / name).write_bytes(name.encode() * 50)
    return folder


def test_packing_twice_gives_the_same_bytes(tmp_path: Path, weights: Path) -> None:
    first = pack(tmp_path / "a.mpta", weights=weights).read_bytes()
    for path in weights.iterdir():
        path.touch()
    assert pack(tmp_path / "b.mpta", weights=weights).read_bytes() == first


def test_a_missing_model_is_not_packed_over(tmp_path: Path, weights: Path) -> None:
    next(weights.iterdir()).unlink()
    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "a.mpta", weights=weights)


def test_weights_not_at_hand_are_taken_over_from_the_old_archive(tmp_path: Path, weights: Path) -> None:
    target = pack(tmp_path / "a.mpta", weights=weights)
    before = target.read_bytes()
    next(weights.iterdir()).unlink()
    assert pack(target, weights=weights).read_bytes() == before


def test_the_shipped_archive_holds_the_pipeline_and_its_models() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        document = json.loads(archive.read("pipeline.json"))
        names = archive.namelist()
    assert document == json.loads(PIPELINE.read_text())
    assert names == ["pipeline.json", *model_files(document["pipeline"])]
    assert ARCHIVE.stat().st_size <= 25_000_000


def test_the_shipped_models_say_nothing_of_where_they_were_trained() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        models = [archive.read(name) for name in archive.namelist() if name.endswith(".pt")]
    assert models
    assert not any(
        word in model for model in models for word in (b"/home/", b"/root/", b"/tmp/", b"data.yaml")
    )
