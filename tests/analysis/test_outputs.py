from pathlib import Path

import numpy as np
import psutil
import pytest

from siwatsystem.analysis.material import Recording
from siwatsystem.analysis.outputs import Outputs
from siwatsystem.analysis.video import Film
from tests.analysis.results import result
from tests.cameras import film


def begun(tmp_path: Path) -> Outputs:
    outputs = Outputs(tmp_path / "out", "clip", Recording(film(tmp_path / "clip.mp4", 5)), video=True)
    outputs.add(result(0), np.zeros((48, 64, 3), np.uint8))
    return outputs


def test_what_an_earlier_run_left_is_not_counted_as_written(tmp_path: Path):
    begun(tmp_path).close()
    again = Outputs(tmp_path / "out", "clip", Recording(tmp_path / "clip.mp4"), video=True)
    assert again.close() == [tmp_path / "out" / "clip.jsonl"]


def test_lines_that_cannot_be_finished_do_not_cost_the_film(tmp_path: Path):
    outputs = begun(tmp_path)
    (tmp_path / "out" / "clip.jsonl").mkdir()
    assert outputs.close() == [tmp_path / "out" / "clip.annotated.mp4"]
    assert outputs.damage == ["clip.jsonl was not written: Is a directory"]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


def test_a_film_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unable(path: Path, fps: float) -> Film:
        raise OSError("no encoder")

    material = Recording(film(tmp_path / "clip.mp4", 5))
    monkeypatch.setattr("siwatsystem.analysis.outputs.Film", unable)
    with pytest.raises(OSError, match="no encoder"):
        Outputs(tmp_path / "out", "clip", material, video=True)
    assert list((tmp_path / "out").iterdir()) == []
    open_files = [Path(one.path).name for one in psutil.Process().open_files()]
    assert ".clip.jsonl.part" not in " ".join(open_files)
