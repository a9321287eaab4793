"""Videos on this machine: which folders may be named, and what is in them. Blocks: not for the event loop."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.events import FileGiven
from siwatsystem.deepstream.fields import MAX_FILES
from siwatsystem.deepstream.wire_states import shown

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "264", "265", "asf", "avi", "dav", "flv", "h264", "h265", "hevc", "m2ts", "m4v", "mjpeg"),
        *("mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv"),
    )
)
SETTING = "control.media_folders"


class NotTaken(Exception):
    """Why a path is not taken."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.refused = Refused(status, reason)


class Media:
    """`folders`: below which videos must lie; empty allows all."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [Path(os.path.realpath(folder)) for folder in folders]

    def check(self, path: str) -> None:
        """Raises NotTaken (403) outside the folders, wherever links lead."""
        if not self._folders:
            return
        if "\0" in path or not Path(path).is_absolute():
            raise NotTaken(422, f"{shown(path)}: an absolute path is needed")
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(folder) for folder in self._folders):
            raise NotTaken(
                403, f"{shown(path)} lies in none of the folders that the setting {SETTING} allows"
            )

    def file(self, path: str, output_dir: str) -> list[FileGiven]:
        """One video that is there. Raises NotTaken."""
        self.check(path)
        found = Path(path)
        if found.is_dir():
            raise NotTaken(422, f"{shown(path)} is a folder: its type is fileset")
        if not found.exists():
            raise NotTaken(404, f"{shown(path)} is not there")
        if not is_video(path) or not found.is_file():
            raise NotTaken(422, f"{shown(path)} is no video")
        return _given([path], output_dir)

    def folder(self, path: str, output_dir: str) -> list[FileGiven]:
        """Its videos in name order, without those in folders of it. Raises NotTaken."""
        self.check(path)
        try:
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if self._is_taken(entry)]
        except FileNotFoundError:
            raise NotTaken(404, f"{shown(path)} is not there") from None
        except NotADirectoryError:
            raise NotTaken(422, f"{shown(path)} is no folder: the type of one video is file") from None
        except OSError as error:
            raise NotTaken(422, f"{shown(path)} cannot be read: {error.strerror}") from None
        if not names:
            raise NotTaken(422, f"{shown(path)} has no videos")
        if len(names) > MAX_FILES:
            raise NotTaken(422, f"{shown(path)} has {len(names)} videos, a request {MAX_FILES} at most")
        return _given([str(Path(path) / name) for name in sorted(names)], output_dir)

    def _is_taken(self, entry: "os.DirEntry[str]") -> bool:
        if entry.name.startswith(".") or not is_video(entry.name) or not entry.name.isprintable():
            return False
        try:
            if not entry.is_file():
                return False
            if entry.is_symlink():
                self.check(entry.path)
        except (OSError, NotTaken):
            return False
        return True


def is_video(path: str) -> bool:
    """As far as its name tells."""
    return Path(path).suffix.lower() in SUFFIXES


def apart(files: Sequence[FileGiven], output_dir: str) -> list[FileGiven]:
    """Files that a client named, each with its name; where those that have no output path would be written to
    the same one below `output_dir`, they are given others."""
    found = [
        FileGiven(file.file_id, file.file_path, file.file_name or Path(file.file_path).name, file.output_path)
        for file in files
    ]
    open_ = [Path(file.file_name) for file in found if not file.output_path] if output_dir else []
    if not open_:
        return found
    stems, names = Counter(name.stem for name in open_), Counter(open_)

    def output(file: FileGiven) -> str:
        name = Path(file.file_name)
        if file.output_path or stems[name.stem] < 2:
            return file.output_path
        return str(Path(output_dir) / (str(name) if names[name] < 2 else f"{name.stem}-{file.file_id}"))

    return [replace(file, output_path=output(file)) for file in found]


def _given(paths: list[str], output_dir: str) -> list[FileGiven]:
    """Numbered from 1. Each is given an output path of its own below `output_dir`, if there is one."""
    stems = [Path(path).stem for path in paths]
    shared = {stem for stem, count in Counter(stems).items() if count > 1}
    found: list[FileGiven] = []
    for number, (path, stem) in enumerate(zip(paths, stems, strict=True), 1):
        name = Path(path).name
        output = str(Path(output_dir) / (name if stem in shared else stem)) if output_dir else ""
        found.append(FileGiven(number, path, name, output))
    return found
