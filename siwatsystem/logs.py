"""Logging, set up once by whoever starts the process; rooms only call `logging.getLogger`."""

import contextlib
import copy
import logging
import logging.handlers
import os
import re
import stat
import sys
from io import TextIOWrapper
from pathlib import Path

from siwatsystem.config import LogSettings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*):\\?/\\?/([^\s'\"<>]+)")
_LOGIN = re.compile(r"(:\\?/\\?/)[^\s'\"<>/?#@]*:(?:(?!://)[^@\n]){0,300}@")
"""A login whose password holds blanks or quotes; a port and an `@` further on look the same."""
_QUERY = re.compile(r"(?<=[\w/;.-])\?[^\s'\"<>?]*=[^\s'\"<>]*")
_HEADER = re.compile(r"(?i)((?:\bauthorization\b\W{1,4}\w+|\bbearer)\s+)[^\s'\"]+|(\bsiwat_login=)[^\s;'\"]+")
_START = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def redact(text: str) -> str:
    """`text` with the user information and query of every URL in it hidden, and credentials of headers.

    The user information ends at the last `@` before a blank, quote or query: a password may
    itself hold `@`, `:` or `/`. A path with a query counts too: servers log requests like that.
    """
    if "/" in text:
        text = _LOGIN.sub(r"\1***@", _URL.sub(_hide, text))
        text = _QUERY.sub("?***", text)
    return _HEADER.sub(r"\1\2***", text)


def _hide(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    before, mark, _ = rest.partition("?")
    if "@" in rest:
        # A `?` inside a password would otherwise cut the address in two before its host.
        tail = rest.rpartition("@")[2]
        before, mark, _ = tail.partition("?")
        before = f"***@{before}"
    return f"{scheme}://{before}{'?***' if mark else ''}"


class RedactingFormatter(logging.Formatter):
    """Formats as usual, then hides secrets of URLs, those in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, tuple) and any(map(_is_url, record.args)):
            # An argument is known to end where the address does, whatever its password holds.
            record = copy.copy(record)
            record.args = tuple(_whole(each) if _is_url(each) else each for each in record.args or ())
        return redact(super().format(record))


def _is_url(value: object) -> bool:
    return isinstance(value, str) and _START.match(value) is not None


def _whole(url: object) -> str:
    scheme, _, rest = str(url).partition("://")
    return redact(f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else str(url))


class _File(logging.handlers.RotatingFileHandler):
    """Lines name cameras, servers and sessions: a log file is for the worker's user and its group."""

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        # Somebody else's file, or one on a file system without modes, is written as it is.
        with contextlib.suppress(OSError):
            os.fchmod(stream.fileno(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & ~stat.S_IRWXO)
        return stream


def set_up(settings: LogSettings, data_dir: Path, formatter: logging.Formatter | None = None) -> None:
    """Log to the console and to a rotated file. Replaces what was set up before.

    `DEBUG` is for our own lines: libraries then quote whole messages and headers, cut to a length that hides
    where a password ends.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.file is not None:
        path = data_dir / settings.file
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(settings.max_mb * 1_000_000)
        handlers.append(_File(path, maxBytes=size, backupCount=settings.keep, encoding="utf-8", delay=True))
    for handler in handlers:
        handler.setFormatter(formatter or RedactingFormatter(FORMAT))
    level = logging.getLevelNamesMapping()[settings.level]
    logging.basicConfig(level=max(level, logging.INFO), handlers=handlers, force=True)
    logging.getLogger("siwatsystem").setLevel(level)
