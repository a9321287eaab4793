import json
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.analysis import rolling
from siwatsystem.analysis.lines import Lines, unfinished
from siwatsystem.analysis.rolling import RollingLines
from tests.analysis.results import result

BEGAN = 1_763_700_000.25


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def frames(folder: Path) -> list[list[int]]:
    """Of each whole file, the oldest first."""
    return [
        [json.loads(line)["frame"] for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    ]


def rolling_in(folder: Path, most: int = 10, told: list[Any] | None = None) -> RollingLines:
    return RollingLines(folder, "camera-4", 60.0, most, (told if told is not None else []).append)


def test_a_file_ends_with_its_time_also_while_nothing_comes(tmp_path):
    lines = rolling_in(tmp_path)
    for second in (0, 59, 61):
        lines.add(result(second), BEGAN + second)
    assert frames(tmp_path) == [[0, 59]]
    lines.turn(BEGAN + 100)
    assert frames(tmp_path) == [[0, 59]]
    lines.turn(BEGAN + 122)
    assert frames(tmp_path) == [[0, 59], [61]]
    assert names(tmp_path) == ["camera-4-20251121T044000.250Z.jsonl", "camera-4-20251121T044101.250Z.jsonl"]
    lines.close()
    assert len(names(tmp_path)) == 2


def test_the_newest_are_kept_and_others_are_let_be(tmp_path):
    (tmp_path / "camera-4-notes.jsonl").write_text("mine")
    (tmp_path / "camera-41-20200101T000000.000Z.jsonl").write_text("another camera's")
    lines = rolling_in(tmp_path, most=2)
    for number in range(5):
        lines.add(result(number), BEGAN + 61 * number)
    lines.close()
    assert len(names(tmp_path)) == 4
    newest = sorted(tmp_path.glob("camera-4-2*.jsonl"))
    assert [json.loads(path.read_text())["frame"] for path in newest] == [3, 4]


def test_a_file_has_a_greatest_size(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rolling, "MAX_BYTES", 200)
    lines = rolling_in(tmp_path)
    for number in range(9):
        lines.add(result(number), BEGAN)
    lines.close()
    assert [one for some in frames(tmp_path) for one in some] == list(range(9))
    assert len(names(tmp_path)) > 2
    assert all(path.stat().st_size < 400 for path in tmp_path.iterdir())


def test_what_a_killed_process_left_gets_its_name_up_to_the_last_whole_line(tmp_path):
    left = Lines(tmp_path / "camera-4-20251121T044000.250Z.jsonl")
    left.add(result(7))
    left.suspend()
    with unfinished(left.path).open("ab") as file:
        file.write(b'{"frame": 8, "ev')
    empty = tmp_path / ".camera-4-20251121T045000.250Z.jsonl.part"
    empty.touch()
    busy = Lines(tmp_path / "camera-4-20251121T050000.250Z.jsonl")
    busy.add(result(9))
    rolling_in(tmp_path)
    assert frames(tmp_path) == [[7]]
    assert not empty.exists()
    busy.close()
    assert frames(tmp_path) == [[7], [9]]


def test_a_folder_that_cannot_be_written_to_is_told_and_tried_again(tmp_path):
    told: list[Any] = []
    folder = tmp_path / "out"
    folder.write_text("in the way")
    lines = rolling_in(folder, told=told)
    for second in range(5):
        lines.add(result(second), BEGAN + second)
    assert len(told) == 1
    assert "cannot be written to" in told[0]
    folder.unlink()
    lines.add(result(5), BEGAN + 30)
    assert not folder.exists()
    lines.add(result(6), BEGAN + 61)
    lines.close()
    assert told[1:] == [None]
    assert frames(folder) == [[6]]
