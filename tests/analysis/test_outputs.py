import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from siwatsystem.analysis.material import Recording
from siwatsystem.analysis.outputs import Outputs, claimed
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


HOLDS = """
import os, sys
from pathlib import Path
from siwatsystem.analysis.outputs import claimed
folder = Path(sys.argv[1])
with claimed(folder):
    for name in (".a.jsonl.part", ".a.annotated.part.mp4", ".a.timing.part.png", ".a.summary.json.part"):
        (folder / name).touch()
    print("held", flush=True)
    sys.stdin.read()
    os._exit(9)
"""


def test_a_folder_is_one_runs_and_what_a_killed_one_left_is_removed(tmp_path: Path):
    folder = tmp_path / "out"
    command = [sys.executable, "-c", HOLDS, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), claimed(folder):
            pass
        assert (folder / ".a.jsonl.part").exists()
        other.communicate("")
    assert other.returncode == 9
    for name in ("a.jsonl", ".other.part"):
        (folder / name).touch()
    with claimed(folder):
        assert sorted(path.name for path in folder.glob("*a*part*")) == []
    assert sorted(path.name for path in folder.iterdir()) == [".other.part", "a.jsonl"]


def test_a_claimed_folder_that_stays_empty_is_gone_if_it_was_new(tmp_path: Path):
    with claimed(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with claimed(tmp_path / "old"):
        pass
    assert list((tmp_path / "old").iterdir()) == []
