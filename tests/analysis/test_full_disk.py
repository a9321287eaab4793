"""What becomes of a file's results where nothing more can be written."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.file_run import FileRun, Outcome, Wanted
from siwatsystem.pipeline.events import EventContext
from siwatsystem.testing import FakeModel, fake_pipeline
from tests.analysis.scripted_server import lines_of
from tests.analysis.test_run import car_when_bright
from tests.cameras import film

FRAMES = 40
FEW = 1500
"""Bytes that some of the lines of so many frames have."""


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may become larger: what a full disk is to whoever writes, and needs no disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def analysed(wanted: Wanted, keep: bool = True) -> tuple[Outcome, int]:
    """And how many frames were looked at."""
    seen: list[int] = []
    run = FileRun(fake_pipeline(FakeModel(car_when_bright, ["Car"])), Actions(), EventContext(), "pipeline-1")
    return run.over(wanted, lambda number, _: seen.append(number) is None, keep=lambda: keep), len(seen)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return film(tmp_path / "clip.mp4", FRAMES)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Pictures that need more room than their lines."""
    path, random = tmp_path / "noise.mp4", np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(FRAMES):
            image = random.integers(0, 255, (120, 160, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("video", [False, True])
def test_lines_that_do_not_fit_get_no_name_and_end_the_file(tmp_path, clip, video):
    wanted = Wanted(clip, tmp_path / "out" / "a.jsonl", video=video)
    with at_most(FEW):
        outcome, seen = analysed(wanted)
    assert str(outcome.error).startswith(f"{wanted.lines} was not written: File too large")
    assert (outcome.lines, outcome.left) == (None, False)
    assert 0 < seen < FRAMES - 1
    assert names(wanted.lines.parent) == []


def test_what_fitted_is_gone_on_with_where_files_go_on(tmp_path, clip):
    analysed(Wanted(clip, tmp_path / "whole.jsonl"))
    wanted = Wanted(clip, tmp_path / "out" / "a.jsonl", resume=True)
    with at_most(FEW):
        outcome, before = analysed(wanted)
    assert outcome.lines is None
    left = [".a.jsonl.part", ".a.jsonl.resume"]
    assert names(wanted.lines.parent) == left
    with at_most(50):  # not even the note beside the lines
        outcome, seen = analysed(wanted)
    assert (str(outcome.error), seen) == (f"{wanted.lines}: File too large", 0)
    assert names(wanted.lines.parent) == left
    outcome, seen = analysed(wanted)
    assert (outcome.error, outcome.lines, before + seen) == (None, wanted.lines, FRAMES)
    assert lines_of(wanted.lines) == lines_of(tmp_path / "whole.jsonl")


@pytest.mark.parametrize("room", [1, 10])
def test_where_nothing_fits_nothing_is_left(tmp_path, clip, room, monkeypatch):
    wanted = Wanted(clip, tmp_path / "out" / "a.jsonl", resume=True)
    if room > 1:  # for a note, not for a line
        monkeypatch.setattr("siwatsystem.analysis.resuming.note", lambda *_: None)
    with at_most(room):
        outcome, _ = analysed(wanted)
    assert "File too large" in str(outcome.error)
    assert names(wanted.lines.parent) == []


def test_a_film_that_does_not_fit_gets_no_name_and_costs_no_lines(tmp_path, noise):
    wanted = Wanted(noise, tmp_path / "out" / "a.jsonl", video=True)
    with at_most(100_000):
        outcome, seen = analysed(wanted)
    assert outcome.error == f"{wanted.lines.parent}/a.annotated.mp4 was not written: File too large"
    assert (outcome.lines, outcome.frames, seen) == (wanted.lines, FRAMES, FRAMES)
    assert names(wanted.lines.parent) == ["a.jsonl"]
    assert len(lines_of(wanted.lines)) == FRAMES


def test_a_picture_that_does_not_fit_gets_no_name(tmp_path):
    source = tmp_path / "a.png"
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    source.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    wanted = Wanted(source, tmp_path / "out" / "a.jsonl", video=True)
    with at_most(5000):
        outcome, _ = analysed(wanted)
    assert outcome.error == f"{wanted.lines.parent}/a.annotated.jpg was not written: File too large"
    assert names(wanted.lines.parent) == ["a.jsonl"]
    assert analysed(wanted)[0].error is None
    assert names(wanted.lines.parent) == ["a.annotated.jpg", "a.jsonl"]
