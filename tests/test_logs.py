import logging
from pathlib import Path

import pytest

from siwatsystem import logs
from siwatsystem.config import LogSettings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("open rtsp://cam.local/a", "open rtsp://cam.local/a"),
        ("open rtsp://user:secret@cam/a", "open rtsp://***@cam/a"),
        ("rtsp://u:se@cr:et/x@cam:554/a failed", "rtsp://***@cam:554/a failed"),
        ("http://u:pa?ss@cam/a", "http://***@cam/a"),
        ("get https://store/a.mpta?X-Signature=abc now", "get https://store/a.mpta?*** now"),
        ("'rtsp://u:p@h/s', 'http://x/y?token=1'", "'rtsp://***@h/s', 'http://x/y?***'"),
    ],
)
def test_user_information_and_queries_are_hidden(text: str, shown: str):
    assert logs.redact(text) == shown


def test_a_traceback_in_the_log_file_keeps_no_password(tmp_path: Path):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.set_up(LogSettings(), tmp_path)
        try:
            raise OSError("cannot open rtsp://admin:hunter2@camera/stream")
        except OSError:
            logging.getLogger("test").exception("while opening %s", "rtsp://admin:hunter2@camera/stream")
        text = (tmp_path / "detector_worker.log").read_text()
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "hunter2" not in text
    assert text.count("rtsp://***@camera/stream") == 3
    assert "Traceback" in text
