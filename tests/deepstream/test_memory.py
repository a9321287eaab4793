"""What the server keeps in memory is bounded, and is little more than what it says."""

import tracemalloc

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream import capacity, wire_states
from siwatsystem.deepstream.changes import Changes
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import FileState

MANY = 2_000
BYTES_EACH = 1_000


def test_a_change_is_kept_as_its_text_and_no_more():
    changes = Changes("e", MANY)
    tracemalloc.start()
    try:
        for number in range(2 * MANY):
            changes.add("file", f"r/{number}", {"file_path": f"/videos/{number}.mp4", "state": "queued"})
        assert tracemalloc.get_traced_memory()[0] < MANY * BYTES_EACH
    finally:
        tracemalloc.stop()


def test_a_file_that_is_listed_costs_little_until_it_has_ended():
    request = Request("r", 1, "fileset", "/v", "n", "", 0.0, 1.0)
    files = [File(number, f"/v/{number}.mp4", f"{number}.mp4") for number in range(MANY)]
    request.add(files)
    tracemalloc.start()
    try:
        wire_states.camera(request)
        assert tracemalloc.get_traced_memory()[0] < MANY * BYTES_EACH
    finally:
        tracemalloc.stop()
    assert all(file.listed for file in files)
    for file in files:
        request.move(file, FileState.DONE)
    assert not any(file.listed for file in files)


def test_how_many_that_ended_are_kept_is_a_setting():
    limits = capacity.limits(ControlSettings(kept_requests=7, kept_files=70))
    assert (limits.kept_requests, limits.kept_files) == (7, 70)
