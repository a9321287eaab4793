"""Logging, set up once by whoever starts the process; rooms only call `logging.getLogger`."""

import logging
import logging.handlers
import re
import sys
from pathlib import Path

from siwatsystem.config import LogSettings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s'\"<>]+)")


def redact(text: str) -> str:
    """`text` with the user information and query of every URL in it hidden.

    The user information ends at the last `@` before a blank, quote or query: a password may
    itself hold `@`, `:` or `/`.
    """
    return _URL.sub(_hide, text)


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
        return redact(super().format(record))


def set_up(settings: LogSettings, data_dir: Path) -> None:
    """Log to the console and to a rotated file. Replaces what was set up before."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.file is not None:
        path = data_dir / settings.file
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(settings.max_mb * 1_000_000)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                path, maxBytes=size, backupCount=settings.keep, encoding="utf-8", delay=True
            )
        )
    for handler in handlers:
        handler.setFormatter(RedactingFormatter(FORMAT))
    logging.basicConfig(level=settings.level, handlers=handlers, force=True)
