"""Archives: zips made wrong, so that there is a folder with what was asked for, or ModelError and nothing."""

import io
import itertools
import json
import os
import re
import shutil
import struct
import tempfile
import warnings
import zipfile
from functools import cache
from pathlib import Path
from random import Random

from siwatsystem import archive
from siwatsystem.archive_shelf import Shelf
from siwatsystem.config import ModelSettings
from siwatsystem.download import Fetched, Version
from siwatsystem.errors import ModelError
from tests.fuzz import mutation
from tests.fuzz.target import Input, Target, sendable

LIMITS = ModelSettings(max_entries=16, max_unpacked_mb=1, max_ratio=50)
MOST_BYTES = LIMITS.max_unpacked_mb << 20
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
PIPELINE = json.dumps({"pipeline": {"modelFile": "a.pt", "branches": [{"modelFile": "nets/b.onnx"}]}})
NAMES = (
    "../evil",
    "tests/../../evil",
    "/evil",
    "C:/evil",
    "tests\\evil",
    "tests/evil\0.jpg",
    "tests/./evil",
    "tests//evil",
    "tests/",
    "a.pt",
    "A.PT",
    "a.pt/below",
    "pipeline.json",
    "tests",
    "tests/x" * 20,
    "tests/x" * 40,
    "tests/" + "a/" * 2000 + "x",
    "tests/" + ("x" * 250 + "/") * 20 + "x",
    "x" * 300,
    "tests/é",
    "tests/\u202egpj.exe",
    "",
    ".",
    "..",
    "nets",
    "tests/ok.jpg",
    "tests/more/ok.jpg",
    "readme.md",
    "signature.json",
)
BOMB = bytes(3 << 20)
SIZES = (0, 1, 100, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE)
KINDS = (0o100644, 0o120777, 0o040755, 0o010644, 0o020644, 0o060644, 0o140777, 0)
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def make(random: Random) -> Input:
    """A zip with other entries, headers that lie, or broken bytes."""
    if random.randrange(50) == 0:
        return mutation.noise(random, 400)
    data = _packed(random)
    for _ in range(random.randrange(3)):
        data = _lied(random, data)
    return mutation.damaged(random, data) if random.randrange(4) == 0 else data


def _packed(random: Random) -> bytes:
    buffer = io.BytesIO()
    top = random.choice(("", "", "car-v2/"))
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method, strict_timestamps=False) as file:
        warnings.simplefilter("ignore")
        pipeline = mutation.torn(random, PIPELINE) if random.randrange(8) == 0 else PIPELINE
        file.writestr(f"{top}pipeline.json", pipeline.encode("utf-8", "surrogatepass"))
        file.writestr(f"{top}a.pt", b"weights" * 50)
        file.writestr(f"{top}nets/b.onnx", b"net")
        for _ in range(random.choice((0, 0, 1, 2, 20))):
            info = zipfile.ZipInfo(f"{top}{random.choice(NAMES)}")
            info.external_attr = random.choice(KINDS if random.randrange(3) == 0 else (0o100644,)) << 16
            info.compress_type = random.choice((method, zipfile.ZIP_DEFLATED))
            content = BOMB if random.randrange(200) == 0 else b"../../etc/passwd"
            file.writestr(info, content)
        if random.randrange(6) == 0:
            file.comment = mutation.noise(random)
    return _zip64(random, buffer.getvalue()) if random.randrange(12) == 0 else buffer.getvalue()


def _lied(random: Random, data: bytes) -> bytes:
    """One field of a header changed: sizes, offsets, methods, flags, names' lengths."""
    kind = random.choice((LOCAL, CENTRAL, CENTRAL, END))
    found = [match.start() for match in re.finditer(re.escape(kind), data)]
    if not found:
        return data
    at, made = random.choice(found), bytearray(data)
    wide = {LOCAL: (14, 18, 22), CENTRAL: (16, 20, 24, 38, 42), END: (12, 16)}[kind]
    narrow = {LOCAL: (4, 6, 8, 26, 28), CENTRAL: (6, 8, 10, 28, 30, 32, 34), END: (4, 6, 8, 10, 20)}[kind]
    if random.randrange(2):
        value = random.choice((*SIZES, len(data), random.randrange(2**32)))
        struct.pack_into("<I", made, min(at + random.choice(wide), len(made) - 4), value)
    else:
        value = random.choice((0, 1, 8, 9, 12, 14, 99, 0x2041, 0x800, 0xFFFF, random.randrange(2**16)))
        struct.pack_into("<H", made, min(at + random.choice(narrow), len(made) - 2), value)
    return bytes(made)


def _zip64(random: Random, data: bytes) -> bytes:
    """With a zip64 end record before the ordinary one, which may say anything."""
    end = data.rfind(END)
    entries, size, start = struct.unpack_from("<8xHHII", data, end)[1:]
    if random.randrange(2):
        size, start = random.choice((size, 2**40, 2**63)), random.choice((start, 0, 2**62))
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, size, start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, random.choice((end, end, 0, 2**40)), 1)
    return data[:end] + record + locator + data[end:]


@cache
def _room() -> Path:
    """One folder for all inputs: `in` for what is given, `out` for what is made of it."""
    room = Path(tempfile.mkdtemp(prefix="fuzz-archives-", dir=MEMORY))
    for name in ("in", "out", "guard"):
        (room / name).mkdir()
    (room / "guard" / "mine").write_text("mine")
    return room


def check(data: Input) -> bool:
    """A whole folder within the limits, or ModelError; nothing anywhere else, nothing left behind."""
    assert isinstance(data, bytes)
    room = _room()
    zip_path, out = room / "in" / "a.mpta", room / "out" / "unpacked"
    zip_path.write_bytes(data)
    try:
        _surveyed(zip_path)
        try:
            archive.extract(zip_path, out, LIMITS)
        except ModelError as error:
            sendable(error.message)
            assert not list((room / "out").iterdir())
            return False
        _within_limits(out, len(data))
        archive.read_pipeline(out)
        assert archive.files_of(out)
        return True
    finally:
        shutil.rmtree(out, ignore_errors=True)
        assert sorted(path.name for path in room.iterdir()) == ["guard", "in", "out"]
        assert [path.name for path in (room / "in").iterdir()] == ["a.mpta"]
        assert not list((room / "out").iterdir())
        assert (room / "guard" / "mine").read_text() == "mine"


def _surveyed(zip_path: Path) -> None:
    try:
        found = archive.survey(zip_path, LIMITS)
    except ModelError as error:
        sendable(error.message)
        return
    for trouble in found.troubles:
        sendable(trouble)


def _within_limits(out: Path, packed: int) -> None:
    found = list(out.rglob("*"))
    assert len(found) <= LIMITS.max_entries * archive.MAX_FOLDERS
    assert not any(path.is_symlink() for path in found)
    assert all(path.is_file() or path.is_dir() for path in found)
    size = sum(path.stat().st_size for path in found if path.is_file())
    assert size <= min(MOST_BYTES, LIMITS.max_entries * max(packed, 1) * LIMITS.max_ratio)


# --- the shelf -------------------------------------------------------------------------------------

URLS = (
    "http://m/cars.mpta",
    "http://m/a%20b.pt",
    "http://[",
    "no address",
    "http://m/../x.onnx",
    "http://m/\0.pt",
)
_numbers = itertools.count()


def check_shelf(data: Input) -> bool:
    """What was fetched, laid there by somebody, or recorded wrongly: a copy or ModelError; the folder holds
    nothing half."""
    assert isinstance(data, bytes)
    folder = _room() / "out" / "1"
    try:
        shelf = Shelf(folder, LIMITS)
        number = next(_numbers)
        url = URLS[len(data) % len(URLS)]
        part = shelf.part()
        part.write_bytes(data)
        digest = f"{number:064x}"[::-1]
        taken = False
        try:
            copy = shelf.put(url, part, Fetched(digest, Version(), length_known=True))
            taken = copy.folder.is_dir()
            found = shelf.find(url)
            assert found is not None
            assert found.folder == copy.folder
        except ModelError as error:
            sendable(error.message)
            part.unlink(missing_ok=True)
            (folder / "laid.mpta").write_bytes(data)
            _find(shelf, "http://m/laid.mpta")
        for record in folder.glob("*.json"):
            record.write_bytes(data)
            _find(shelf, url)
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        return taken
    finally:
        shutil.rmtree(folder)
        assert (_room() / "guard" / "mine").read_text() == "mine"


def _find(shelf: Shelf, url: str) -> None:
    try:
        shelf.find(url)
    except ModelError as error:
        sendable(error.message)


def clean() -> None:
    """Remove the room of this process."""
    if _room.cache_info().currsize:
        shutil.rmtree(_room(), ignore_errors=True)
        _room.cache_clear()


os.register_at_fork(after_in_child=_room.cache_clear)

TARGETS = (
    Target("archives", make, check, share=0.15),
    Target("shelf", make, check_shelf, share=0.15),
)
