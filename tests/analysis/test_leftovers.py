"""Unfinished lines of attempts that nobody came back to do not stay for ever."""

import os
import time
from pathlib import Path

from siwatsystem.analysis.leftovers import KEPT_SEC, sweep
from siwatsystem.analysis.locks import locked
from siwatsystem.analysis.rolling import RollingLines

NAMES = (".a.jsonl.part", ".a.jsonl.resume", ".a.annotated.part.mp4")


def left(folder: Path, age_sec: float, *names: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text('{"frame": 0, "events": []}\n')
        at = time.time() - age_sec
        os.utime(folder / name, (at, at))
    return sorted(names)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_old_ones_go_and_what_is_no_leftover_stays(tmp_path: Path):
    left(tmp_path, KEPT_SEC + 60, *NAMES)
    others = left(tmp_path, KEPT_SEC + 60, "a.jsonl", "b.jsonl.part", ".c.annotated.mp4", ".jsonl")
    assert sweep(tmp_path) == 3
    assert names_in(tmp_path) == others


def test_new_ones_stay_for_the_next_attempt(tmp_path: Path):
    names = left(tmp_path, KEPT_SEC - 60, *NAMES)
    assert sweep(tmp_path) == 0
    assert names_in(tmp_path) == names


def test_what_is_being_written_stays_with_what_it_is_of(tmp_path: Path):
    left(tmp_path, KEPT_SEC + 60, *NAMES)
    file = locked(tmp_path / NAMES[0])
    assert sweep(tmp_path) == 0
    os.close(file)
    assert sweep(tmp_path) == 3


def test_what_a_live_camera_left_is_kept_for_it(tmp_path: Path):
    gate, live = ".gate-20260101T000000.000Z.jsonl", ".camera-3-20260101T000000.000Z.jsonl.part"
    left(tmp_path, KEPT_SEC + 60, live, f"{gate}.part", f"{gate}.resume")
    assert sweep(tmp_path) == 2, "a recording that is called alike is one"
    assert names_in(tmp_path) == [live]
    RollingLines(tmp_path, "camera-3", 60, 10, lambda _: None)
    assert names_in(tmp_path) == [live.removeprefix(".").removesuffix(".part")]


def test_a_folder_that_is_not_there_is_none_to_sweep(tmp_path: Path):
    assert sweep(tmp_path / "none") == 0
