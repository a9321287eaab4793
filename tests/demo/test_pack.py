import json
import zipfile
from pathlib import Path

import pytest

from demo.pack import ARCHIVE, PIPELINE, model_files, pack, trained


def test_the_shipped_archive_is_what_packing_gives(tmp_path: Path) -> None:
    assert pack(tmp_path / "demo.mpta").read_bytes() == ARCHIVE.read_bytes()
    assert ARCHIVE.stat().st_size <= 25_000_000


def test_a_missing_model_is_not_packed_over(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    first, *others = model_files(json.loads(PIPELINE.read_text())["pipeline"])
    for name in others:
        (weights / name).symlink_to(trained() / name)
    target = pack(tmp_path / "a.mpta")
    before = target.read_bytes()
    with pytest.raises(FileNotFoundError, match=first):
        pack(target, weights=weights)
    assert target.read_bytes() == before


def test_the_shipped_models_say_nothing_of_where_they_were_trained() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        models = [archive.read(name) for name in archive.namelist() if name.endswith(".pt")]
    assert models
    assert not any(
        word in model for model in models for word in (b"/home/", b"/root/", b"/tmp/", b"data.yaml")
    )
