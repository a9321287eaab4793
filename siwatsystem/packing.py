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
from siwatsystem.archive import SCHEMA
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelRefused
from siwatsystem.pipeline.spec import parse

SUFFIX = ".mpta"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest moment that a zip can express."""
MODE = (stat.S_IFREG | 0o644) << 16
UNIX = 3
LEFT_OUT = (".*", "__pycache__", "*.pyc", "*~", "#*#", "*.swp", "*.swo", "*.bak", "*.orig", "*.tmp")
LEFT_OUT_FILES = ("Thumbs.db", "desktop.ini", SCHEMA, f"*{SUFFIX}")


@dataclass(frozen=True, slots=True)
class Contents:
    """A folder's files as an archive has them: paths with `/`, sorted; and what stays out of it.

    A folder that stays out is named with a `/` at its end, and not what is in it. `troubles` says
    what a worker would refuse.
    """

    files: tuple[str, ...]
    left_out: tuple[str, ...]
    troubles: tuple[str, ...]


def contents(folder: Path, limits: ModelSettings | None = None) -> Contents:
    """What of `folder` goes into an archive. Raises OSError for what cannot be listed."""
    files: list[zipfile.ZipInfo] = []
    left_out: list[str] = []
    troubles: list[str] = []
    for name, path in _below(folder, ""):
        kind = path.lstat().st_mode
        if _stays_out(path, kind):
            left_out.append(f"{name}/" if stat.S_ISDIR(kind) else name)
        elif stat.S_ISLNK(kind):
            troubles.append(f"{name!r} is a link: put what it leads to in its place")
        elif not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            troubles.append(f"{name!r} is neither a file nor a folder")
        elif not _is_text(name):
            troubles.append(f"{name!r} has a name that is not UTF-8")
        elif stat.S_ISREG(kind):
            files.append(_entry(name, path.stat().st_size))
    troubles += archive.refusals(files, limits or ModelSettings())
    return Contents(tuple(sorted(file.filename for file in files)), tuple(sorted(left_out)), tuple(troubles))


def pack(folder: Path, target: Path, limits: ModelSettings | None = None) -> Path:
    """Write the archive of `folder` to `target`, which appears at once and complete; returns `target`.

    Refuses what a worker with `limits` (default: the shipped ones) would refuse: raises ModelRefused
    and ModelInvalid (PipelineInvalid with every mistake), OSError where something cannot be read or
    written; `target` is as it was then. Whether models load, and know the classes, is not looked at.
    """
    limits = limits or ModelSettings()
    found = contents(folder, limits)
    if found.troubles:
        raise ModelRefused("; ".join(found.troubles))
    parse(archive.read_pipeline(folder), found.files)
    temporary = target.with_name(f".pack-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
                for name in found.files:
                    _add(zipped, folder, name)
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


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = UNIX
    entry.external_attr = MODE
    entry.file_size = entry.compress_size = size
    return entry


def _add(zipped: zipfile.ZipFile, folder: Path, name: str) -> None:
    path = folder / name
    with path.open("rb") as source, zipped.open(_entry(name, path.stat().st_size), "w") as target:
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
