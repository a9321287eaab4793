"""What `siwat analyze --config` names: our own TOML or JSON, or a DeepStream ini with a section [siwat]."""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from siwatsystem.analysis.deepstream_ini import read_ini
from siwatsystem.errors import InvalidSetting
from siwatsystem.sections import PrecisionSetting, Section

MAX_BYTES = 1024 * 1024
MAX_MISTAKES = 10
"""That are told at once."""

Slots = Annotated[int, Field(ge=1, le=256)]


class AppConfig(Section):
    """What an analysis app does with every file."""

    archive: Path
    """An .mpta, a folder with pipeline.json, or weights; from the config's folder on."""
    classes: tuple[str, ...] = ()
    """Of bare weights: the classes to keep; empty keeps all."""
    streams: Slots | None = None
    """Slots, where `--streams` does not say."""
    precision: PrecisionSetting = "exact"
    """`exact`, `fast` or `auto`, as of `siwat run`."""
    fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None
    """Frames analysed per second of a file; not together with `every`."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Analyse every N-th frame."""
    tracking: Literal["camera", "file"] = "camera"
    """`camera`: tracks go on from file to file of a camera; `file`: every file begins anew, as in `run`."""
    video: bool = False
    """Whether each file's annotated video is written beside its lines."""
    resume: bool = False
    """Whether a file that was interrupted goes on where it was, also where the server does not ask for it."""
    actions: Literal["none", "do"] = "none"
    """Whether the archive's actions (images, messages, records) are done."""
    display: Annotated[str, Field(min_length=1, max_length=128)] = "unknown"
    """Display identifier for the actions."""
    live_minutes: Annotated[float, Field(gt=0, le=1440, allow_inf_nan=False)] = 10.0
    """Length of the files into which a live camera's lines go, one after the other."""
    live_files: Annotated[int, Field(ge=1)] = 144
    """How many of them are kept per camera; the oldest is removed."""
    input_folders: tuple[Path, ...] = ()
    """Folders below which files may be read; empty: wherever this user may."""
    output_folders: tuple[Path, ...] = ()
    """Folders below which results may be written; empty: wherever this user may."""

    @model_validator(mode="after")
    def _one_sampling(self) -> Self:
        if self.fps is not None and self.every is not None:
            raise ValueError("fps and every exclude each other")
        return self


def read_config(path: Path) -> tuple[AppConfig, list[str]]:
    """The config at `path`, and what in it has no meaning here, in words.

    Relative paths are from the config's folder on. Raises InvalidSetting: file, key, what is wrong.
    """
    text = _text(path)
    warnings: list[str] = []
    try:
        match path.suffix.lower():
            case ".toml":
                values: Any = tomllib.loads(text)
            case ".json":
                values = json.loads(text)
            case _:
                values, warnings = read_ini(text, lambda name: _other(path.parent / name))
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"{path}: {error}") from None
    try:
        config = AppConfig.model_validate(values)
    except ValidationError as error:
        raise InvalidSetting(f"{path}: {_told(error)}") from None
    return _from(path.parent, config), warnings


def _told(error: ValidationError) -> str:
    """Each key that is wrong, and how."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [f"{'.'.join(map(_shown, one['loc'])) or 'config'}: {one['msg']}" for one in found[:MAX_MISTAKES]]
    return "; ".join(part.replace("Extra inputs are not permitted", "there is no such key") for part in parts)


def _shown(key: object) -> str:
    """A key as it can stand in a line, whatever its author wrote."""
    text = str(key)[:100]
    return text if text.isprintable() else ascii(text)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InvalidSetting(f"{path}: a config has {MAX_BYTES // 1024} KiB at most")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidSetting(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidSetting(f"{path}: is not text") from None


def _other(path: Path) -> str | None:
    try:
        return _text(path)
    except InvalidSetting:
        return None


def _from(folder: Path, config: AppConfig) -> AppConfig:
    update: dict[str, Any] = {
        "archive": folder / config.archive,
        "input_folders": tuple(folder / one for one in config.input_folders),
        "output_folders": tuple(folder / one for one in config.output_folders),
    }
    return config.model_copy(update=update)
