"""A folder as an archive: the same files give the same bytes, on every machine.

Entries are sorted, stored uncompressed (deflate's bytes differ between zlib versions, and weights
hardly shrink), and carry one fixed time and mode. What no archive needs stays out and is named.
"""

import os
import shutil
import stat
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from siwatsystem import archive
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.pipeline.spec import parse

SUFFIX = ".mpta"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest moment that a zip can express."""
MODE = (stat.S_IFREG | 0o644) << 16
UNIX = 3
LEFT_OUT = (".*", "__pycache__", "*.pyc", "*~", "#*#", "*.swp", "*.swo", "*.bak", "*.orig", "*.tmp")
LEFT_OUT_FILES = ("Thumbs.db", "desktop.ini", f"*{SUFFIX}")


@dataclass(frozen=True, slots=True)
class Contents:
    """A folder's files as an archive has them: paths with `/`, sorted; and what stays out of it.

    A folder that stays out is named with a `/` at its end, and not what is in it.
    """

    files: tuple[str, ...]
    left_out: tuple[str, ...]


def contents(folder: Path) -> Contents:
    """What of `folder` goes into an archive. Raises ModelRefused for links and for what is no file,
    ModelInvalid for names that are no text, OSError for what cannot be listed."""
    files: list[str] = []
    left_out: list[str] = []
    for name, path in _below(folder, ""):
        kind = path.lstat().st_mode
        if _stays_out(path, kind):
            left_out.append(f"{name}/" if stat.S_ISDIR(kind) else name)
        elif stat.S_ISREG(kind):
            files.append(_text(name))
        elif stat.S_ISLNK(kind):
            raise ModelRefused(f"{name} is a link: put what it leads to in its place")
        elif not stat.S_ISDIR(kind):
            raise ModelRefused(f"{name} is neither a file nor a folder")
    return Contents(tuple(sorted(files)), tuple(sorted(left_out)))


def pack(folder: Path, target: Path, limits: ModelSettings | None = None) -> Path:
    """Write the archive of `folder` to `target`, which appears at once and complete; returns `target`.

    Refuses what a worker with `limits` (default: the shipped ones) would refuse: raises ModelRefused
    and ModelInvalid (PipelineInvalid with every mistake), OSError where something cannot be read or
    written; `target` is as it was then. Whether models load, and know the classes, is not looked at.
    """
    limits = limits or ModelSettings()
    found = contents(folder).files
    data = archive.read_pipeline(folder)
    parse(data, found)
    temporary = target.with_name(f".pack-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
                for entry in found:
                    _add(zipped, folder, entry)
            file.flush()
            os.fsync(file.fileno())
        _check(temporary, limits)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Everything below `folder` with its name, except below what stays out."""
    for path in sorted(folder.iterdir()):
        name = prefix + path.name
        yield name, path
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind) and not _stays_out(path, kind):
            yield from _below(path, f"{name}/")


def _stays_out(path: Path, kind: int) -> bool:
    patterns = LEFT_OUT if stat.S_ISDIR(kind) else (*LEFT_OUT, *LEFT_OUT_FILES)
    return any(fnmatchcase(path.name, pattern) for pattern in patterns)


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ModelInvalid(f"{name!r}: the file's name is not UTF-8") from None
    return name


def _add(zipped: zipfile.ZipFile, folder: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = UNIX
    entry.external_attr = MODE
    path = folder / name
    entry.file_size = path.stat().st_size
    with path.open("rb") as source, zipped.open(entry, "w") as target:
        shutil.copyfileobj(source, target, archive.CHUNK)


def _check(packed: Path, limits: ModelSettings) -> None:
    """That a worker would open it: asked of the very bytes that it would get."""
    size = packed.stat().st_size
    if size > limits.max_archive_mb << 20:
        raise ModelRefused(
            f"the archive is larger than {limits.max_archive_mb} MB, which models.max_archive_mb allows"
        )
    troubles = archive.survey(packed, limits).troubles
    if troubles:
        raise ModelRefused("; ".join(troubles))
