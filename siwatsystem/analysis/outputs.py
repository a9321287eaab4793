"""What is left of one material: its annotated film or picture, and its JSON lines; and whose folder it is."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.lines import Lines
from siwatsystem.analysis.locks import bring_to_disk, locked
from siwatsystem.analysis.material import Material
from siwatsystem.analysis.video import Film
from siwatsystem.frames import Image, encode_jpeg

LOCK = ".siwat-run.lock"
_LEFTOVERS = (
    *(".*.jsonl.part", ".*.summary.json.part", ".*.annotated.part.mp4", ".*.annotated.part.jpg"),
    *(f".*.{plot}.part.png" for plot in ("detections", "confidences", "timing")),
)
"""What a run that was killed leaves behind."""


@contextmanager
def claimed(folder: Path) -> Generator[None]:
    """`folder`, made where there is none, for this process alone; what killed runs left there is removed.

    Raises BlockingIOError while another run has it, OSError where it cannot be written to.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = locked(folder / LOCK)
        try:
            for pattern in _LEFTOVERS:
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)
            yield
        finally:
            # Before it is free: afterwards it may be another run's.
            (folder / LOCK).unlink(missing_ok=True)
            os.close(file)
    finally:
        if is_new:
            # A run that came to nothing leaves nothing.
            with suppress(OSError):
                folder.rmdir()


class Outputs:
    """Writes `{name}.jsonl`, and `{name}.annotated.mp4` (`.jpg` for a picture) where `video` is wanted.

    A full disk ends what cannot be written; `damage` says what, and whoever analyses may go on or not.
    Unless `parts` are welcome, what ends early never gets its name. Raises OSError where the folder cannot be
    written to at all, BlockingIOError where somebody else writes these lines.
    """

    def __init__(
        self, folder: Path, name: str, material: Material, video: bool, kept: int = 0, *, parts: bool = True
    ) -> None:
        """`kept`: bytes of lines that stay of an earlier attempt."""
        folder.mkdir(parents=True, exist_ok=True)
        info = material.info
        self._material = material
        self._parts = parts
        self._lines = Lines(folder / f"{name}.jsonl", kept)
        self._film: Film | None = None
        self._picture: Path | None = None
        self._picture_is_there = False
        self._picture_damage: str | None = None
        if video and info is not None and info.fps == 0:
            self._picture = folder / f"{name}.annotated.jpg"
        elif video:
            try:
                self._film = Film(folder / f"{name}.annotated.mp4", 0.0 if info is None else info.fps)
            except BaseException:
                if kept:
                    self._lines.suspend()
                else:
                    self._lines.discard()
                raise

    @property
    def wants_pictures(self) -> bool:
        return (self._film is not None and self._film.damage is None) or self._picture is not None

    @property
    def size(self) -> int:
        """Bytes of whole lines."""
        return self._lines.size

    @property
    def lines_end_early(self) -> bool:
        """Whether nothing is added to the lines any more."""
        return self._lines.damage is not None

    @property
    def damage(self) -> list[str]:
        """What could not be written; each begins with the file's name."""
        found = (self._lines.damage, self._film and self._film.damage, self._picture_damage)
        return [one for one in found if one]

    def add(self, analysed: Analysed, canvas: Image | None) -> None:
        """A result and its annotated frame (H×W×3 BGR), which is needed where pictures are wanted."""
        self._lines.add(analysed)
        if canvas is None:
            return
        if self._film is not None:
            self._film.add(canvas, analysed.frame.at)
            if self._film.damage is not None and not self._parts:
                self._film.discard()  # at once: it may be what the lines need room for
        elif self._picture is not None:
            partial = self._picture.with_name(f".{self._picture.stem}.part.jpg")
            try:
                partial.write_bytes(encode_jpeg(canvas, 92))
                bring_to_disk(partial)
                partial.replace(self._picture)
                self._picture_is_there = True
            except OSError as error:
                partial.unlink(missing_ok=True)
                self._picture_damage = f"{self._picture.name} was not written: {error.strerror}"

    def close(self) -> list[Path]:
        """Finish the files, and name them. A film lasts as long as its material did."""
        written: list[Path] = []
        if self.lines_end_early and not self._parts:
            self._lines.discard()
        elif self._lines.close():
            written.append(self._lines.path)
        if self._film is not None and self._film.close(self._material.end, parts=self._parts):
            written.append(self._film.path)
        if self._picture is not None and self._picture_is_there:
            written.append(self._picture)
        return written

    def leave(self, *, keep_lines: bool) -> None:
        """Finish nothing; the lines so far stay for another attempt, or do not."""
        if keep_lines:
            self._lines.suspend()
        else:
            self._lines.discard()
        if self._film is not None:
            self._film.discard()
        if self._picture is not None and self._picture_is_there:
            self._picture.unlink(missing_ok=True)
