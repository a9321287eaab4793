"""What is left of one material: its annotated film or picture, and its JSON lines."""

from pathlib import Path

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.lines import Lines
from siwatsystem.analysis.material import Material
from siwatsystem.analysis.video import Film
from siwatsystem.frames import Image, encode_jpeg


class Outputs:
    """Writes `{name}.jsonl`, and `{name}.annotated.mp4` (`.jpg` for a picture) where `video` is wanted.

    A full disk ends what cannot be written, not the analysis; `damage` says what. Raises OSError where
    the folder cannot be written to at all.
    """

    def __init__(self, folder: Path, name: str, material: Material, video: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        info = material.info
        self._material = material
        self._lines = Lines(folder / f"{name}.jsonl")
        self._film: Film | None = None
        self._picture: Path | None = None
        self._picture_damage: str | None = None
        if video and info is not None and info.fps == 0:
            self._picture = folder / f"{name}.annotated.jpg"
        elif video:
            self._film = Film(folder / f"{name}.annotated.mp4", 0.0 if info is None else info.fps)

    @property
    def wants_pictures(self) -> bool:
        return self._film is not None or self._picture is not None

    @property
    def damage(self) -> list[str]:
        """What could not be written."""
        found = (self._lines.damage, self._film and self._film.damage, self._picture_damage)
        return [one for one in found if one]

    def add(self, analysed: Analysed, canvas: Image | None) -> None:
        """A result and its annotated frame (H×W×3 BGR), which is needed where pictures are wanted."""
        self._lines.add(analysed)
        if canvas is None:
            return
        if self._film is not None:
            self._film.add(canvas, analysed.frame.at)
        elif self._picture is not None:
            try:
                self._picture.write_bytes(encode_jpeg(canvas, 92))
            except OSError as error:
                self._picture.unlink(missing_ok=True)
                self._picture_damage = f"{self._picture.name} was not written: {error.strerror}"

    def close(self) -> list[Path]:
        """Finish the files, and name them. A film lasts as long as its material did."""
        self._lines.close()
        if self._film is not None:
            self._film.close(self._material.end)
        pictures = self._picture if self._film is None else self._film.path
        return [self._lines.path, *([pictures] if pictures is not None and pictures.exists() else [])]
