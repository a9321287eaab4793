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
        (r'{"rtspUrl":"rtsp:\/\/u:p@h\/s"}', r'{"rtspUrl":"rtsp://***@h\/s"}'),
        ('"WebSocket /?token=secret" [accepted]', '"WebSocket /?***" [accepted]'),
        (
            'http://h:80 "GET /snap.cgi?user=a&pwd=b HTTP/1.1" 200',
            'http://h:80 "GET /snap.cgi?*** HTTP/1.1" 200',
        ),
        ("authorization: Bearer secret", "authorization: Bearer ***"),
        ("{'Authorization': 'Basic c2VjcmV0'}", "{'Authorization': 'Basic ***'}"),
        ("cookie: siwat_login=secret; other=1", "cookie: siwat_login=***; other=1"),
        ("why? because 1/2 = 0.5", "why? because 1/2 = 0.5"),
    ],
)
def test_user_information_and_queries_are_hidden(text: str, shown: str):
    assert logs.redact(text) == shown


def test_a_traceback_in_the_log_file_keeps_no_password(tmp_path: Path):
    file = tmp_path / "detector_worker.log"
    file.touch()
    file.chmod(0o644)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.set_up(LogSettings(), tmp_path)
        try:
            raise OSError("cannot open rtsp://admin:hunter2@camera/stream")
        except OSError:
            logging.getLogger("test").exception("while opening %s", "rtsp://admin:hunter2@camera/stream")
        text = file.read_text()
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "hunter2" not in text
    assert text.count("rtsp://***@camera/stream") == 3
    assert "Traceback" in text
    assert file.stat().st_mode & 0o777 == 0o640, "it names cameras and servers"


def test_an_address_among_the_arguments_is_one_however_it_is_written():
    record = logging.LogRecord(
        "test", logging.INFO, "", 0, "opened %s for %d", ("rtsp://u'p w@q\"x@h/a", 3), None
    )
    assert logs.RedactingFormatter("%(message)s").format(record) == "opened rtsp://***@h/a for 3"
    assert "p w" in str(record.args)


def test_libraries_do_not_quote_messages_in_debug(tmp_path: Path):
    root, ours = logging.getLogger(), logging.getLogger("siwatsystem")
    handlers, level, own = root.handlers[:], root.level, ours.level
    try:
        logs.set_up(LogSettings(level="DEBUG"), tmp_path)
        assert logging.getLogger("siwatsystem.worker").isEnabledFor(logging.DEBUG)
        for library in ("uvicorn.error", "websockets.client", "urllib3.connectionpool", "asyncio"):
            assert not logging.getLogger(library).isEnabledFor(logging.DEBUG)
            assert logging.getLogger(library).isEnabledFor(logging.INFO)
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(own)
