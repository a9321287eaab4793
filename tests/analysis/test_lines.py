import errno
import json
import os

from siwatsystem.analysis.lines import Lines, line
from tests.analysis.results import result


def test_a_line_has_the_frame_its_time_and_its_events():
    found = line(result(3, car=7))
    assert found["frame"] == 3
    assert found["at"] == 0.3
    assert found["time"].endswith("Z")
    (event,) = found["events"]
    assert event["bbox"] == [10.0, 10, 40, 30]
    assert (event["class"], event["confidence"], event["id"], event["session_id"]) == ("Car", 0.9, 7, "s1")
    said = event["branches"]["brand_classifier"]
    assert said == {"class": "Aster", "confidence": 0.8765, "id": None, "brand": "Aster"}
    assert line(result(5, failure="broken"))["failure"] == "broken"


def test_the_file_has_its_name_once_it_is_whole(tmp_path):
    lines = Lines(tmp_path / "a.jsonl")
    lines.add(result(0))
    lines.add(result(1, car=1))
    assert not lines.path.exists()
    lines.close()
    assert [json.loads(text)["frame"] for text in lines.path.read_text().splitlines()] == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_on_a_full_disk_whole_lines_stay(tmp_path, monkeypatch):
    lines = Lines(tmp_path / "a.jsonl")
    lines.add(result(0))
    write = os.write

    def full(file: int, data: bytes) -> int:
        # What a disk does that has room for a part: it takes that, and refuses the rest.
        if len(data) <= 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: len(data) - 20])

    monkeypatch.setattr("siwatsystem.analysis.lines.os.write", full)
    lines.add(result(1))
    lines.add(result(2))
    lines.close()
    assert lines.damage == "a.jsonl ends early: No space left on device"
    assert [json.loads(text)["frame"] for text in lines.path.read_text().splitlines()] == [0]
