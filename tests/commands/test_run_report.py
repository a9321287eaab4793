import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from siwatsystem.actions.base import Job
from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.material import Material, Recording
from siwatsystem.analysis.summary import summary
from siwatsystem.analysis.tally import Tally
from siwatsystem.commands.run_report import LogFile, Report, show
from siwatsystem.commands.run_wiring import _named
from siwatsystem.config import LogSettings
from siwatsystem.streams.clip import ClipFrame
from tests.analysis.results import result
from tests.cameras import film

ODD = "car[/x]:smile:"


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """A report takes the log over, as is right for a command."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("siwatsystem.streams.source").setLevel(logging.NOTSET)


def test_names_that_look_like_markup_are_shown_as_they_are(capsys):
    tally = Tally()
    tally.outcomes[ODD].clear()
    tally.add(result(0, car=1, brand=ODD))
    show(summary(tally, [ODD], 1.0), "print", None, [Path(ODD)])
    report = Report(False, False, "print", None)
    with report:
        report.begin(ODD)
        report.frame(result(0, car=1))
    out = capsys.readouterr().out
    assert out.count(ODD) == 4
    assert f"{ODD} 1" in out


def test_a_traceback_goes_to_the_log_and_one_line_to_the_screen(capsys, tmp_path: Path):
    log = LogFile(tmp_path / "run.log", LogSettings())
    with Report(False, False, "print", None, log):
        for _ in range(2):
            try:
                raise ValueError("rtsp://me:secret@camera/1")
            except ValueError as error:
                logging.getLogger("siwatsystem.analysis").exception("frame 3 failed: %s", error)
        logging.getLogger("siwatsystem.analysis").warning("nothing is wrong")
    told = f"siwat: frame 3 failed: rtsp://***@camera/1 (traceback in {tmp_path / 'run.log'})\n"
    assert capsys.readouterr().err == f"{told}siwat: nothing is wrong\n"
    text = (tmp_path / "run.log").read_text()
    assert text.count("Traceback") == 2
    assert "secret" not in text


def test_a_log_that_cannot_be_written_is_left_out(capsys, tmp_path: Path):
    (tmp_path / "run.log").mkdir()
    with Report(False, False, "print", None, LogFile(tmp_path / "run.log", LogSettings())):
        logging.getLogger("siwatsystem.analysis").warning("look out")
    assert capsys.readouterr().err == "siwat: look out\n"


def test_late_actions_stand_at_the_last_frames_time(capsys):
    report = Report(False, False, "print", None)
    frame = ClipFrame(np.zeros((4, 4, 3), np.uint8), 7.2, 3)
    with report:
        report.frame(Analysed(frame, 0.0))
        report.late((Job("redis_publish", "key", {"channel": "c", "message": "m"}),))
    assert capsys.readouterr().out == "0:07.2  would publish to c: m\n"


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["a", "a", "a-2", "a"], ["a", "a-2", "a-2-2", "a-3"]),
    ],
)
def test_no_two_sources_write_to_the_same_files(tmp_path: Path, names: list[str], files: list[str]):
    path = film(tmp_path / "clip.mp4", 2)
    materials: list[Material] = []
    for name in names:
        material = Recording(path)
        material.name = name
        materials.append(material)
    assert [name for name, _ in _named(materials)] == files
