import subprocess
import sys

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
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
film = Film(Path(sys.argv[1]), 10)
noise = np.random.default_rng(1)
for number in range(60):
    film.add(noise.integers(0, 255, (96, 128, 3), np.uint8), number / 10)
film.close()
print(film.damage)
"""


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
    Film(tmp_path / "a.mp4", 5).close(3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_what_is_there_can_be_played(tmp_path):
    path = tmp_path / "a.mp4"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "a.mp4 ends early: File too large\n"
    clip = Clip(path)
    assert 5 < len(list(clip)) < 60
    assert clip.damage is None
