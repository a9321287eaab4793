"""The archives of one model id on the disk: what is there, for which URL, and room for more.

Below the model's folder lie, per digest, the unpacked archive and its `.mpta`, and per URL a record
of which digest it had when it was last fetched.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from siwatsystem import archive
from siwatsystem.config import ModelSettings
from siwatsystem.download import Fetched, Version
from siwatsystem.errors import ModelDownloadFailed

log = logging.getLogger(__name__)

DIGEST = re.compile(r"[0-9a-f]{32}")
ADOPTED = (".mpta", ".zip")
LEFTOVERS = (".fetch-*", ".unpack-*", ".gone-*", ".record-*")
LEFTOVER_SEC = 3600.0


@dataclass(frozen=True, slots=True)
class Copy:
    """An archive on the disk: for which URL (its query aside), in which state, unpacked where.

    `stamp` is the adopted file's time and size, None for what was fetched.
    """

    url: str
    digest: str
    folder: Path
    file: Path
    version: Version
    stamp: str | None = None


class Shelf:
    """The folder of one model id."""

    def __init__(self, folder: Path, settings: ModelSettings) -> None:
        self.folder = folder
        self._settings = settings
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, url: str) -> Copy | None:
        """The copy of `url` from an earlier time, else an archive that was laid here, unpacked."""
        known = self._recorded(url)
        if known is not None and (known.stamp is None or known.stamp == _stamp(known.file)):
            return known
        return self._adopt(url)

    def put(self, url: str, part: Path, fetched: Fetched) -> Copy:
        """Unpack what was fetched to `part`, and record it. Raises ModelInvalid, ModelRefused."""
        folder = self.folder / fetched.digest[:32]
        name = bare_name(url)
        if name is not None:
            file = self._put_bare(folder, part, name)
            return self.record(Copy(url, fetched.digest, folder, file, fetched.version))
        self._unpack(part, folder)
        file = folder.with_suffix(".mpta")
        part.replace(file)
        return self.record(Copy(url, fetched.digest, folder, file, fetched.version))

    def record(self, copy: Copy) -> Copy:
        """Remember `copy` as what its URL holds, and as used now."""
        values = {
            "url": copy.url,
            "digest": copy.digest,
            "file": copy.file.relative_to(self.folder).as_posix(),
            "version": asdict(copy.version),
            "stamp": copy.stamp,
        }
        path = self._record_path(copy.url)
        temporary = path.with_name(f".record-{uuid.uuid4().hex}")
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
        temporary.replace(path)
        touch(copy.folder)
        return copy

    def part(self) -> Path:
        """A new name for a download that is under way."""
        return self.folder / f".fetch-{uuid.uuid4().hex}"

    def clear(self) -> None:
        """Remove what a killed worker left half done."""
        for path in (path for pattern in LEFTOVERS for path in self.folder.glob(pattern)):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFTOVER_SEC:
                    discard(path)

    def _record_path(self, url: str) -> Path:
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"

    def _recorded(self, url: str) -> Copy | None:
        try:
            values = json.loads(self._record_path(url).read_text(encoding="utf-8"))
            digest, stamp = str(values["digest"]), values["stamp"]
            file = self.folder / str(values["file"])
            copy = Copy(url, digest, self.folder / digest[:32], file, Version(**values["version"]), stamp)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return copy if DIGEST.fullmatch(copy.folder.name) and _holds(copy.folder) else None

    def _adopt(self, url: str) -> Copy | None:
        """Unpack an archive that somebody laid here: the one named as in `url`, else the newest."""
        found = [
            path
            for path in self.folder.iterdir()
            if path.suffix.lower() in ADOPTED and path.is_file() and not DIGEST.fullmatch(path.stem)
        ]
        if not found or bare_name(url) is not None:
            return None
        wanted = _file_name(url)
        file = max(found, key=lambda path: (path.name == wanted, path.stat().st_mtime))
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        folder = self.folder / digest[:32]
        self._unpack(file, folder)
        log.info("the archive %s was there already and is used", file)
        version = Version(size=file.stat().st_size)
        return self.record(Copy(url, digest, folder, file, version, _stamp(file)))

    def _unpack(self, file: Path, folder: Path) -> None:
        if _holds(folder):
            return
        try:
            archive.extract(file, folder, self._settings)
        except OSError as error:
            # Another worker on the same folder may have been faster: the same digest, the same files.
            if not _holds(folder):
                raise ModelDownloadFailed(f"the archive cannot be unpacked: {error.strerror}") from None

    def _put_bare(self, folder: Path, part: Path, name: str) -> Path:
        if not _holds(folder):
            temporary = self.folder / f".unpack-{uuid.uuid4().hex}"
            temporary.mkdir()
            part.replace(temporary / name)
            temporary.rename(folder)
        # The same bytes may have come under another name before.
        return next(folder.iterdir())


def shelf_name(model_id: int | str) -> str:
    """The model id as a folder's name: itself where that is safe, else its letters and a digest."""
    text = str(model_id)
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9_-]', '_', text)[:40]}-{digest}"


def bare_name(url: str) -> str | None:
    """The file's name where `url` leads to a model without an archive around it, else None."""
    name = _file_name(url)
    if not name.lower().endswith(archive.BARE_SUFFIXES):
        return None
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:].lstrip(".") or "model.pt"


def _file_name(url: str) -> str:
    """What stands last in the path of `url`; empty where it is no address at all."""
    try:
        return PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError:
        return ""


def evict(root: Path, limit: int, used: Collection[Path]) -> None:
    """Remove unpacked archives that nobody uses, longest unused first, until `root` fits `limit` bytes."""
    copies = [(path.stat().st_mtime, _bytes(path), path) for path in _copies(root)]
    total = sum(size for _, size, _ in copies)
    for _, size, folder in sorted(copies):
        if total <= limit:
            return
        if folder not in used:
            log.info("%s is evicted: the archive cache is full", folder)
            folder.with_suffix(".mpta").unlink(missing_ok=True)
            discard(folder)
            total -= size


def touch(folder: Path) -> None:
    """Note that `folder` is used now."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def discard(path: Path) -> None:
    """Remove a file, or a folder in a way that it is never seen half empty."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    gone = path.with_name(f".gone-{uuid.uuid4().hex}")
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _holds(folder: Path) -> bool:
    """Whether something is unpacked there. An empty folder is what a damaged disk leaves: it is filled."""
    return folder.is_dir() and any(folder.iterdir())


def _copies(root: Path) -> Iterator[Path]:
    # Folders with a dot belong to others (the runtimes' exports); no model id becomes one.
    found = (path for path in root.glob("*/*") if not path.parent.name.startswith("."))
    return (path for path in found if DIGEST.fullmatch(path.name) and path.is_dir())


def _bytes(folder: Path) -> int:
    files = [*folder.rglob("*"), folder.with_suffix(".mpta")]
    return sum(path.stat().st_size for path in files if path.is_file())


def _stamp(file: Path) -> str | None:
    try:
        state = file.stat()
    except OSError:
        return None
    return f"{state.st_mtime_ns}-{state.st_size}"
