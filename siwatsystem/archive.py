"""Archives (`.mpta`): a zip from outside, opened without trusting a byte of it.

Entries are refused, never rewritten; only what pipeline.json names and `tests/` leaves the zip, or all
of a signed one, because its signature is over all; the folder appears whole or not at all.
"""

import errno
import json
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelInvalid, ModelRefused

PIPELINE = "pipeline.json"
SIGNATURE = "signature.json"
TESTS = "tests"
"""Folder of an archive's own tests."""
SCHEMA = "pipeline.schema.json"
"""What editors complete and check pipeline.json with; it stays out of archives."""
BARE_SUFFIXES = (".pt", ".onnx")
"""Model files that are a pipeline without an archive around them."""
MAX_PIPELINE_BYTES = 4 << 20
MAX_NAME_BYTES = 255
"""Of one component of a path, as file systems have it."""
MAX_PATH_BYTES = 1024
"""Of a whole path in an archive; a system takes 4096, of which the folders above have their part."""
MAX_FOLDERS = 32
"""That one entry may lie in: they are made, and count as no entries."""
DIRECTORY_BYTES_PER_ENTRY = 4096
CHUNK = 1 << 20
METADATA = ("metadata.yaml", "metadata.json")
FILE_KEYS = ("modelFile", "reidModel")
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError, struct.error, zlib.error)
"""What zipfile raises beside its own error, for fields that contradict each other."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive: its name below the archive's top, its bytes, and its bytes in the zip."""

    name: str
    size: int
    packed: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What an archive holds and everything for which `extract` would turn it down, unpacking nothing.

    `pipeline` is the text of pipeline.json, None where none can be read.
    """

    entries: tuple[Entry, ...]
    troubles: tuple[str, ...]
    pipeline: bytes | None


def extract(zip_path: Path, into: Path, limits: ModelSettings, whole: bool = False) -> Path:
    """Unpack the archive `zip_path` as the folder `into`, which holds pipeline.json afterwards.

    `whole`: also what no worker needs.
    `into` must not exist, or be empty; it appears at once and complete. Returns `into`. Raises
    ModelRefused for what could do harm, ModelInvalid for what is no archive (both name the entry),
    FileExistsError, OSError when the disk is full.
    """
    if into.exists() and any(into.iterdir()):
        raise FileExistsError(f"{into} exists already")
    into.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unpack-", dir=into.parent))
    try:
        with zip_path.open("rb") as file:
            _unpack(file, temporary, limits, whole)
        temporary.chmod(0o755)
        _sync(temporary)
        temporary.rename(into)
        _sync(into.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return into


def survey(zip_path: Path, limits: ModelSettings) -> Survey:
    """All that is wrong with the archive as a zip, at once. Raises ModelInvalid and ModelRefused where
    it cannot even be listed, OSError."""
    with zip_path.open("rb") as file:
        _check_directory(file, limits)
        with _damage_told(), zipfile.ZipFile(file) as archive:
            return _survey(archive, limits)


def read_pipeline(folder: Path) -> dict[str, Any]:
    """pipeline.json of an unpacked archive. Raises ModelInvalid."""
    path = folder / PIPELINE
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise ModelInvalid(f"{PIPELINE} cannot be read ({error.strerror})") from None


def parse_json(text: bytes) -> dict[str, Any]:
    """The object that pipeline.json's text holds. Raises ModelInvalid, with the line and column."""
    try:
        data: object = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(f"{PIPELINE} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelInvalid(f"{PIPELINE} must hold an object, not {type(data).__name__}")
    return cast(dict[str, Any], data)


def files_of(folder: Path) -> list[str]:
    """Paths of all files below `folder`, relative to it, with `/` between folders, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _unpack(file: BinaryIO, into: Path, limits: ModelSettings, whole: bool) -> None:
    _check_directory(file, limits)
    with _damage_told(), zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        for trouble in refusals(entries, limits):
            raise ModelRefused(trouble)
        top = _top(entries)
        wanted = _wanted(parse_json(archive.read(_pipeline_entry(entries, top))))
        whole = whole or any(entry.filename == top + SIGNATURE for entry in entries)
        left = limits.max_unpacked_mb << 20
        for entry in entries:
            name = entry.filename.removeprefix(top)
            if _is_folder(entry) or not entry.filename.startswith(top):
                continue
            if whole or _is_wanted(name, wanted):
                left -= _copy(archive, entry, into / name, left, limits)


def _survey(archive: zipfile.ZipFile, limits: ModelSettings) -> Survey:
    entries = archive.infolist()
    troubles = list(refusals(entries, limits))
    top, text = "", None
    try:
        top = _top(entries)
        found = _pipeline_entry(entries, top)
        text = archive.read(found) if _kind_trouble(found) is None else None
    except (ModelRefused, ModelInvalid) as error:
        troubles.append(error.message)
    files = [entry for entry in entries if not _is_folder(entry) and entry.filename.startswith(top)]
    shown = (Entry(entry.filename.removeprefix(top), entry.file_size, entry.compress_size) for entry in files)
    return Survey(tuple(shown), tuple(troubles), text)


def _pipeline_entry(entries: list[zipfile.ZipInfo], top: str) -> zipfile.ZipInfo:
    found = next(entry for entry in entries if entry.filename == top + PIPELINE)
    if found.file_size > MAX_PIPELINE_BYTES:
        raise ModelRefused(f"{PIPELINE} is larger than {MAX_PIPELINE_BYTES >> 20} MiB")
    return found


@contextmanager
def _damage_told() -> Generator[None]:
    """What reading a damaged zip raises, as ModelInvalid."""
    try:
        yield
    except zipfile.BadZipFile as error:
        raise ModelInvalid(f"the archive is damaged or no zip: {error}") from None
    except DAMAGE as error:
        raise ModelInvalid(f"the archive cannot be read: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ModelInvalid("the archive is damaged: it points outside itself") from None


def _check_directory(file: BinaryIO, limits: ModelSettings) -> None:
    """Refuse a directory of entries too large to be read into memory, before it is."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 65557 - 76))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) - end < 22:
        raise ModelInvalid("the archive is no zip, or was cut short")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if tail[max(end - 20, 0) : end].startswith(b"PK\6\7"):
        record = tail[max(end - 76, 0) : end - 20]
        if not record.startswith(b"PK\6\6"):
            raise ModelRefused("the archive's directory is not where it should be")
        directory = int.from_bytes(record[40:48], "little")
    if directory > limits.max_entries * DIRECTORY_BYTES_PER_ENTRY:
        raise ModelRefused(f"the archive has more than {limits.max_entries} entries, or a bloated directory")
    file.seek(0)


def refusals(entries: list[zipfile.ZipInfo], limits: ModelSettings) -> Iterator[str]:
    """Why an archive of these entries is refused, the first reason first."""
    if len(entries) > limits.max_entries:
        yield f"the archive has {len(entries)} entries, more than {limits.max_entries}"
    seen: set[str] = set()
    for entry in entries:
        trouble = _name_trouble(entry.orig_filename) or _kind_trouble(entry)
        name = entry.filename.rstrip("/")
        if trouble is None and name in seen:
            trouble = "is there twice"
        if trouble is None and entry.file_size > max(entry.compress_size, 1) * limits.max_ratio:
            trouble = f"unpacks to more than {limits.max_ratio} times its size"
        if trouble is not None:
            yield f"archive entry {_shown(entry.orig_filename)} {trouble}"
        seen.add(name)
    files = {entry.filename for entry in entries if not _is_folder(entry)}
    for name in sorted(seen):
        blocked = next((str(parent) for parent in PurePosixPath(name).parents if str(parent) in files), None)
        if blocked:
            yield f"archive entry {_shown(blocked)} is a file and a folder"
    total = sum(entry.file_size for entry in entries)
    if total > limits.max_unpacked_mb << 20:
        yield f"the archive unpacks to more than {limits.max_unpacked_mb} MB"


def _name_trouble(name: str) -> str | None:
    parts = name.removesuffix("/").split("/")
    if "\0" in name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "has a control character in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/") or name[1:2] == ":":
        return "has an absolute path"
    if ".." in parts:
        return "leads out of the archive (..)"
    if "" in parts or "." in parts:
        return "has an empty part in its path"
    if any(len(part.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES for part in parts):
        return "has too long a name"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES or len(parts) > MAX_FOLDERS:
        return "lies too deep, or has too long a path"
    return None


def _kind_trouble(entry: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if entry.flag_bits & 0x2041:
        return "is encrypted"
    if entry.compress_type not in COMPRESSIONS:
        return "is compressed in another way than deflate"
    return None


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    """`entry.is_dir()`, which fails on an entry without a name."""
    return entry.filename.endswith("/")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else name[:100] + "…")


def _top(entries: list[zipfile.ZipInfo]) -> str:
    """What precedes pipeline.json: nothing, or one folder and its slash."""
    names = [entry.filename for entry in entries if not _is_folder(entry)]
    if PIPELINE in names:
        return ""
    found = [name for name in names if name.count("/") == 1 and name.endswith(f"/{PIPELINE}")]
    if len(found) != 1:
        raise ModelInvalid(
            f"the archive has {'several top folders with' if found else 'no'} {PIPELINE}"
            + ("" if found else " at its root or in its one top folder")
        )
    return found[0].removesuffix(PIPELINE)


def _wanted(pipeline: Mapping[str, Any]) -> set[str]:
    """Paths that pipeline.json names, anywhere in it."""
    return {str(PurePosixPath(name)) for name in _named(pipeline) if name}


def _named(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in cast(Mapping[str, object], value).items():
            if key in FILE_KEYS and isinstance(item, str):
                yield item
            yield from _named(item)
    elif isinstance(value, list):
        for item in cast(list[object], value):
            yield from _named(item)


def _is_wanted(name: str, wanted: set[str]) -> bool:
    if name == PIPELINE or name in wanted or name.startswith(f"{TESTS}/"):
        return True
    path = PurePosixPath(name)
    if any(str(parent) in wanted for parent in path.parents):
        return True
    # An OpenVINO network is an .xml, its weights beside it, and what ultralytics says about them.
    networks = [PurePosixPath(item) for item in wanted if item.endswith(".xml")]
    return any(
        path == xml.with_suffix(".bin") or (path.parent == xml.parent and path.name in METADATA)
        for xml in networks
    )


def _copy(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, limits: ModelSettings
) -> int:
    """Copy one entry, counting: what a zip says about sizes need not be true. Returns the bytes."""
    allowed = min(left, max(entry.compress_size, 1) * limits.max_ratio)
    target.parent.mkdir(parents=True, exist_ok=True)
    copied = 0
    with archive.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK):
            copied += len(chunk)
            if copied > allowed:
                raise ModelRefused(f"archive entry {_shown(entry.filename)} unpacks to more than it may")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return copied


def _sync(folder: Path) -> None:
    """Have the names in `folder` and below on the disk."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
