"""What the models of pipeline.json share: the base class, and the types of their values."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from siwatsystem.pipeline.problems import shortened

MAX_NAME = 255
"""Bytes of one component of a path."""
MAX_PATH = 1024
"""Bytes of a path inside an archive; what it is unpacked below has its part of the system's 4096."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError(f"{shortened(name)!r} is no path inside the archive")
    if len(name.encode()) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in path.parts):
        raise ValueError(f"{shortened(name)!r} is longer than a file system takes")
    return str(path)


Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Point = Annotated[tuple[Coordinate, Coordinate], Field(strict=False)]
ArchivePath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]


class SpecModel(BaseModel):
    """What all parts share: unknown keys are kept in `model_extra` and told, wrong types are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
