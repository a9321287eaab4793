"""What apps write to stdout and stderr: a file each that an app writes itself, also without this server.

Nobody stands between an app and its log: a server that dies breaks no pipe. The price is that the file is
rotated by copying its end and cutting it to nothing (as `copytruncate` of logrotate does); what is written
between the two is lost. Apps must append, which they do: the file is opened that way.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MAX_LINES = 1000
MAX_LINE_BYTES = 4096
"""Longer lines are shown in part."""
MAX_PAGE_BYTES = 1024 * 1024
_BLOCK = 64 * 1024
_ROUNDS = 16
"""Of beginning anew at the end of a log that grows faster than it is copied."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Page:
    """Lines in the order they were written; `more`: there are older ones."""

    lines: tuple[str, ...] = ()
    more: bool = False

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


class AppLog:
    """The log of one app: `<name>.log`, and what was rotated as `.log.1` (the newest), `.log.2`, …"""

    def __init__(self, folder: Path, name: str, max_bytes: int, kept: int) -> None:
        self.path = folder / f"{name}.log"
        self._max_bytes = max_bytes
        self._kept = kept

    def open(self) -> int:
        """A descriptor to append to. Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.path, flags, 0o640)

    def say(self, text: str) -> None:
        """A line of the server's own; never raises."""
        with contextlib.suppress(OSError):
            descriptor = self.open()
            try:
                os.write(descriptor, f"--- {text}\n".encode())
            finally:
                os.close(descriptor)

    def cap(self) -> None:
        """Rotate it where it has grown beyond its size; never raises."""
        try:
            size = self.path.lstat().st_size
            if size > self._max_bytes:
                self._rotate()
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s cannot be rotated: %s", self.path, error)

    def _rotate(self) -> None:
        fresh = self.path.with_suffix(".log.new")
        source = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            try:
                _copy_end(source, fresh, self._max_bytes)
                for number in range(self._kept - 1, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        self._rotated(number).replace(self._rotated(number + 1))
                fresh.replace(self._rotated(1))
            finally:  # on a full disk, too: an app that floods must not keep it full
                os.ftruncate(source, 0)
        finally:
            os.close(source)
            fresh.unlink(missing_ok=True)

    def _rotated(self, number: int) -> Path:
        return self.path.with_suffix(f".log.{number}")

    def page(self, lines: int, skip: int = 0) -> Page:
        """The last `lines` (at most 1000) before the last `skip`; empty where none can be read. Blocks."""
        found: list[str] = []
        size = 0
        for number, line in enumerate(self._backwards()):
            if number < skip:
                continue
            if len(found) >= min(lines, MAX_LINES) or size > MAX_PAGE_BYTES:
                return Page(tuple(reversed(found)), more=True)
            found.append(line)
            size += len(line)
        return Page(tuple(reversed(found)))

    def _backwards(self) -> Iterator[str]:
        """Every line, the newest first."""
        for path in (self.path, *(self._rotated(number) for number in range(1, self._kept + 1))):
            with contextlib.suppress(OSError), path.open("rb") as file:
                yield from _lines_backwards(file.fileno())

    def remove(self) -> None:
        """Delete all of it; never raises."""
        for path in (self.path, *(self._rotated(number) for number in range(1, 21))):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _copy_end(source: int, target: Path, max_bytes: int) -> None:
    """The end of `source`, twice `max_bytes` and what is written meanwhile, from a line's beginning."""
    with target.open("wb", buffering=0) as file:
        for _ in range(_ROUNDS):
            start = max(0, os.fstat(source).st_size - 2 * max_bytes)
            most = start + 4 * max_bytes
            first = start > 0
            file.seek(0)
            file.truncate()
            while start < most:
                block = os.pread(source, _BLOCK, start)
                if not block:
                    return
                start += len(block)
                file.write(block[block.find(b"\n") + 1 :] if first else block)
                first = False


def _lines_backwards(descriptor: int) -> Iterator[str]:
    """The lines of a file, the last first; of a giant one the end."""
    end = os.fstat(descriptor).st_size
    rest, cut, last = b"", 0, True
    while end > 0:
        start = max(0, end - _BLOCK)
        block = os.pread(descriptor, end - start, start)
        end = start
        *parts, tail = (block + rest).split(b"\n")[::-1] if block else [b""]
        for part in parts:
            if not (last and not part):  # behind the last line's end nothing follows
                yield _shown(part, cut)
            last, cut = False, 0
        rest = tail
        if len(rest) > MAX_LINE_BYTES:
            cut += len(rest) - MAX_LINE_BYTES
            rest = rest[-MAX_LINE_BYTES:]
    if rest or not last:
        yield _shown(rest, cut)


def _shown(line: bytes, cut: int) -> str:
    """Readable text, whatever the bytes were."""
    if len(line) > MAX_LINE_BYTES:
        cut += len(line) - MAX_LINE_BYTES
        line = line[-MAX_LINE_BYTES:]
    text = line.decode("utf-8", errors="replace").rstrip("\r").rpartition("\r")[2]
    text = _CONTROLS.sub("�", _COLOURS.sub("", text))
    return f"({cut} bytes left out) …{text}" if cut else text
