import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from siwatsystem.analysis.video import Film
from siwatsystem.streams.clip import Clip

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from siwatsystem.analysis.video import Film
room = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
film = Film(Path(sys.argv[1]), 10)
noise = np.random.default_rng(1)
for number in range(60):
    film.add(noise.integers(0, 255, (96, 128, 3), np.uint8), number / 10)
print(film.close(), film.damage)
"""


def on_a_full_disk(path: Path, room: int) -> str:
    """What is told of a film for which there are `room` bytes."""
    command = [sys.executable, "-c", FULL, str(path), str(room)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_each_picture_stands_at_its_time_and_the_last_until_the_end(tmp_path):
    film = Film(tmp_path / "a.mp4", 2)
    times = [0, 0.5, 1.0, 3.25]
    for at in times:
        # An odd size: colours are stored by two pixels.
        film.add(np.full((47, 63, 3), 60, np.uint8), at)
    film.close(10)
    assert film.damage is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with av.open(str(film.path)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times)
        assert container.duration == 10_000_000
        assert container.streams.video[0].codec_context.name == "h264"
    assert (Clip(film.path).info.width, Clip(film.path).info.height) == (64, 48)


def test_a_picture_of_another_size_gets_the_first_ones(tmp_path):
    film = Film(tmp_path / "a.mp4", 5)
    film.add(np.zeros((48, 64, 3), np.uint8), 0)
    film.add(np.full((96, 100, 3), 255, np.uint8), 1)
    film.close()
    frames = [frame.image for frame in Clip(film.path)]
    assert [frame.shape for frame in frames] == [(48, 64, 3), (48, 64, 3)]
    assert frames[1].mean() > 250


def test_without_pictures_there_is_no_film(tmp_path):
    assert not Film(tmp_path / "a.mp4", 5).close(3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_what_is_there_can_be_played(tmp_path):
    path = tmp_path / "a.mp4"
    assert on_a_full_disk(path, 200_000) == "True a.mp4 ends early: File too large\n"
    clip = Clip(path)
    assert 5 < len(list(clip)) < 60
    assert clip.damage is None


@pytest.mark.parametrize("room", [1, 1000, 10_000])
def test_a_disk_that_is_full_from_the_start_leaves_no_film(tmp_path, room: int):
    assert on_a_full_disk(tmp_path / "a.mp4", room) == "False a.mp4 was not written: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film = Film(Path("12:30:00.mp4"), 5)
    film.add(np.zeros((48, 64, 3), np.uint8), 0)
    assert film.close()
    assert [path.name for path in tmp_path.iterdir()] == ["12:30:00.mp4"]


def test_a_film_that_cannot_begin_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("siwatsystem.analysis.video.ENCODER", "no-such-encoder")
    film = Film(tmp_path / "a.mp4", 5)
    for at in range(3):
        film.add(np.zeros((48, 64, 3), np.uint8), at)
    assert not film.close(3)
    assert film.damage is not None
    assert film.damage.startswith("a.mp4 was not written: ")
    assert "no-such-encoder" in film.damage
    assert list(tmp_path.iterdir()) == []
