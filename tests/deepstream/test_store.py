"""The state on disk: what survives, what is refused, what is moved aside."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from siwatsystem.deepstream.effects import Drop, Save
from siwatsystem.deepstream.store import KEPT_DAMAGED, VERSION, Store
from siwatsystem.errors import InvalidSetting


def test_what_was_saved_is_loaded(tmp_path: Path):
    store = Store(tmp_path / "state" / "c.sqlite")
    store.save([Save("app", "a", {"x": 1}), Save("file", "r/1", {"y": [1, "é"]}), Save("app", "b", {})])
    store.save([Save("app", "a", {"x": 2}), Drop("app", "b"), Drop("request", "none")])
    store.close()
    state = Store(tmp_path / "state" / "c.sqlite").load()
    assert state == {
        "version": 1,
        "app": {"a": {"x": 2}},
        "request": {},
        "file": {"r/1": {"y": [1, "é"]}},
        "answer": {},
    }


def test_what_is_no_record_keeps_no_other_from_the_disk(tmp_path: Path):
    store = Store(tmp_path / "c.sqlite")
    store.save([Save("app", "a", {"x": 1}), Save("app", "b", {"x": object()}), Save("app", "c", {"x": 3})])
    store.save([Save("app", "d", {})])
    assert store.problem is None
    assert list(store.load()["app"]) == ["a", "c", "d"]
    store.close()


def test_nobody_else_may_read_it(tmp_path: Path):
    path = tmp_path / "c.sqlite"
    path.touch(mode=0o644)
    store = Store(path)
    store.save([Save("request", "r", {"path": "rtsp://user:secret@camera/1"})])
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    store.close()


def test_answers_come_back_in_the_order_they_were_given(tmp_path: Path):
    store = Store(tmp_path / "c.sqlite")
    for key in "zab":
        store.save([Save("answer", key, {})])
    assert list(store.load()["answer"]) == ["z", "a", "b"]


CHILD = """
import sys
from pathlib import Path
from siwatsystem.deepstream.effects import Save
from siwatsystem.deepstream.store import Store
store = Store(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.save([Save("request", "r", {"n": number}), Save("file", "f", {"n": number})])
    print(number, flush=True)
"""


def test_a_killed_server_loses_nothing_and_leaves_nothing_half_done(tmp_path: Path):
    path = tmp_path / "c.sqlite"
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(50):
            told = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
    state = Store(path).load()
    assert state["request"]["r"] == state["file"]["f"]
    assert state["request"]["r"]["n"] >= told


def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "c.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(InvalidSetting, match="newer release"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "cut", "noise"])
def test_a_damaged_file_is_moved_aside_and_told(tmp_path: Path, damage: str):
    path = tmp_path / "c.sqlite"
    store = Store(path)
    store.save([Save("file", f"r/{number}", {"path": "x" * 300}) for number in range(500)])
    store.close()
    whole = path.read_bytes()
    path.write_bytes(
        {
            "text": b"no database at all" * 100,
            "cut": whole[: len(whole) // 2],
            "noise": whole[:4096] + bytes(8192) + whole[12288:],
        }[damage]
    )
    store = Store(path)
    assert store.load()["file"] == {}
    assert store.moved is not None
    assert store.moved.exists()
    store.save([Save("app", "a", {})])
    store.close()
    assert Store(path).load()["app"] == {"a": {}}


def test_few_damaged_files_are_kept(tmp_path: Path):
    for _ in range(KEPT_DAMAGED + 2):
        (tmp_path / "c.sqlite").write_bytes(b"nothing")
        Store(tmp_path / "c.sqlite").close()
    assert len(list(tmp_path.glob("*.damaged-*"))) <= KEPT_DAMAGED


def test_what_the_disk_refuses_is_written_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("siwatsystem.deepstream.store.BUSY_MS", 100)
    store = Store(tmp_path / "c.sqlite")
    other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.save([Save("app", "a", {"n": 1})])
    assert store.problem is not None
    other.execute("ROLLBACK")
    other.close()
    store.save([Save("app", "b", {})])
    assert store.problem is None
    assert set(store.load()["app"]) == {"a", "b"}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "c.sqlite").mkdir()
    with pytest.raises(InvalidSetting, match=r"c\.sqlite"):
        Store(tmp_path / "c.sqlite")
