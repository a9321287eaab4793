"""Logs of apps: read from the end, kept within their size, whatever is in them."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siwatsystem.deepstream.app_logs import MAX_LINE_BYTES, MAX_LINES, AppLog

KB = 1024


def write(log: AppLog, data: bytes) -> None:
    descriptor = log.open()
    os.write(descriptor, data)
    os.close(descriptor)


def log_of(folder: Path, data: bytes = b"", max_bytes: int = 1024 * KB, kept: int = 1) -> AppLog:
    log = AppLog(folder, "one", max_bytes, kept)
    write(log, data)
    return log


def test_pages_go_back_from_the_end(tmp_path: Path):
    log = log_of(tmp_path, b"".join(b"line %d\n" % n for n in range(25)))
    last = log.page(10)
    assert last.lines == tuple(f"line {n}" for n in range(15, 25))
    assert last.more
    assert last.text.startswith("line 15\nline 16\n")
    assert log.page(10, skip=10).lines == tuple(f"line {n}" for n in range(5, 15))
    first = log.page(10, skip=20)
    assert first.lines == tuple(f"line {n}" for n in range(5))
    assert not first.more
    assert log.page(10, skip=25).lines == ()
    assert not log.page(25).more


def test_no_log_is_an_empty_one(tmp_path: Path):
    assert AppLog(tmp_path, "nobody", KB, 1).page(10).lines == ()
    assert log_of(tmp_path).page(10).lines == ()
    (tmp_path / "folder.log").mkdir()
    assert AppLog(tmp_path, "folder", KB, 1).page(10).lines == ()


def test_a_page_has_at_most_a_thousand_lines(tmp_path: Path):
    log = log_of(tmp_path, b"x\n" * 5000)
    assert len(log.page(4000).lines) == MAX_LINES


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]))), st.booleans())
def test_every_line_comes_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str], ended: bool):
    folder = tmp_path_factory.mktemp("logs")
    text = "\n".join(lines) + ("\n" if ended else "")
    log = log_of(folder, text.encode())
    wanted = text.removesuffix("\n").split("\n") if text else []
    assert list(log.page(MAX_LINES).lines) == wanted[-MAX_LINES:]


@pytest.mark.parametrize("size", [4095, 4096, 4097, 64 * KB - 1, 64 * KB, 64 * KB + 1, 300 * KB])
def test_lines_over_the_blocks_edges(tmp_path: Path, size: int):
    log = log_of(tmp_path, b"before\n" + b"x" * (size - 3) + b"END\nafter\n")
    before, long, after = log.page(10).lines
    assert (before, after) == ("before", "after")
    assert long.endswith("xEND")
    if size <= MAX_LINE_BYTES:
        assert len(long) == size
    else:
        assert long.startswith(f"({size - MAX_LINE_BYTES} bytes left out) …xxx")
        assert long.count("x") == MAX_LINE_BYTES - 3


def test_a_line_without_an_end_of_many_megabytes_is_shown_in_part(tmp_path: Path):
    log = log_of(tmp_path, b"y" * (8 * KB * KB), max_bytes=64 * KB * KB)
    (line,) = log.page(1000).lines
    assert len(line) < MAX_LINE_BYTES + 100


def test_a_page_stays_small(tmp_path: Path):
    log = log_of(tmp_path, (b"z" * 4000 + b"\n") * 2000, max_bytes=64 * KB * KB)
    page = log.page(1000)
    assert len(page.text) < 1100 * KB
    assert page.more


def test_bytes_that_are_no_text_are_readable(tmp_path: Path):
    log = log_of(tmp_path, b"\xff\xfe\x00\x01\x1b[31mred\x1b[0m \x1b]0;title\x07\n10%\r20%\r30%\nwindows\r\n")
    first, progress, windows = log.page(10).lines
    assert "red" in first
    assert first.isprintable()
    assert (progress, windows) == ("30%", "windows")


def test_a_log_is_rotated_at_its_size_and_the_app_writes_on(tmp_path: Path):
    log = log_of(tmp_path, max_bytes=10 * KB, kept=2)
    descriptor = log.open()  # the app's
    written = 0
    for _ in range(20):
        for _ in range(150):
            os.write(descriptor, b"line %04d of many\n" % written)
            written += 1
        log.cap()
    os.close(descriptor)
    assert {path.name for path in tmp_path.iterdir()} == {"one.log", "one.log.1", "one.log.2"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 50 * KB
    found = log.page(1000).lines
    assert found[-1] == f"line {written - 1:04d} of many"
    assert list(found) == [f"line {n:04d} of many" for n in range(written - len(found), written)]
    assert len(found) == MAX_LINES


def test_one_that_floods_is_cut_to_its_last_part(tmp_path: Path):
    log = log_of(tmp_path, b"".join(b"%d\n" % n for n in range(200_000)), max_bytes=10 * KB)
    log.cap()
    assert (tmp_path / "one.log").stat().st_size == 0
    assert (tmp_path / "one.log.1").stat().st_size <= 20 * KB
    assert log.page(1).lines == ("199999",)


def test_reading_while_it_is_rotated(tmp_path: Path):
    log = log_of(tmp_path, max_bytes=20 * KB)
    done = threading.Event()

    def app() -> None:
        descriptor = log.open()
        for n in range(30_000):
            os.write(descriptor, b"line %d\n" % n)
        os.close(descriptor)
        done.set()

    thread = threading.Thread(target=app)
    thread.start()
    while not done.is_set():
        log.cap()
        for line in log.page(100).lines:
            assert set(line) <= set("line 0123456789")
    thread.join()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path):
    target = tmp_path / "precious"
    target.write_bytes(b"x" * 100 * KB)
    (tmp_path / "one.log").symlink_to(target)
    log = AppLog(tmp_path, "one", 10 * KB, 1)
    with pytest.raises(OSError, match="symbolic"):
        log.open()
    log.say("nothing")
    log.cap()
    assert target.stat().st_size == 100 * KB


def test_all_of_it_is_removed(tmp_path: Path):
    log = log_of(tmp_path, b"x" * 20 * KB, max_bytes=10 * KB)
    log.cap()
    write(log, b"more\n")
    log.remove()
    assert not list(tmp_path.iterdir())
    log.remove()
    log.cap()
