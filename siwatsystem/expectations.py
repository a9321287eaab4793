"""`tests/expected.json` of an archive: what its pipeline is to see on the pictures and clips beside it."""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from siwatsystem import archive
from siwatsystem.detections import Xyxy
from siwatsystem.errors import ModelInvalid
from siwatsystem.pipeline.fields import ArchivePath, Coordinate, Positive
from siwatsystem.pipeline.node import PipelineSpec
from siwatsystem.pipeline.problems import LINE, MOST, Problem, json_path, listed, shortened, summary
from siwatsystem.pipeline.spec import EXPECTED
from siwatsystem.pipeline.unknown_keys import is_note

FOLDER = archive.TESTS
FILE = "expected.json"
MAX_BYTES = 4 << 20


def _box(box: Xyxy) -> Xyxy:
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return box


Text = Annotated[str, Field(min_length=1)]
Box = Annotated[
    tuple[Coordinate, Coordinate, Coordinate, Coordinate], Field(strict=False), AfterValidator(_box)
]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _without_notes(cls, data: object) -> object:
        """Remarks (`//…`) and `$schema` are for people and editors, as in pipeline.json."""
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in cast(Mapping[str, Any], data).items() if not is_note(str(key))}


class Expectation(_Strict):
    """Objects of one class that are to be seen, and how many.

    An object is a region of an event: also the front of a car that is an event together. Without
    `count`, `min` and `max` at least one is to be there; where the case says `exactly`, one.
    """

    class_name: Annotated[Text, Field(alias="class")]
    """Class of the object's box; upper and lower case are the same."""
    count: Count | None = None
    """So many, no more and no fewer."""
    min: Count | None = None
    """At least so many."""
    max: Count | None = None
    """At most so many."""
    box: Box | None = None
    """Where: x1, y1, x2, y2 in pixels of the picture; in a clip, on one of its frames."""
    min_iou: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.5
    """Least overlap (intersection over union) with `box`."""
    attributes: dict[str, Text] = {}
    """What the attributes of `imageDetection.detection` are to be: `{"carBrand": "Aster"}`."""
    branches: dict[str, Text] = {}
    """Which class branches are to have given, by their `modelId`."""

    @model_validator(mode="after")
    def _one_way_to_count(self) -> Self:
        if self.count is not None and (self.min is not None or self.max is not None):
            raise ValueError("count stands alone, or min and max do")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    def bounds(self, exactly: bool) -> tuple[int, int | None]:
        """Fewest and most objects; None: any number."""
        if self.count is not None:
            return self.count, self.count
        if self.min is None and self.max is None:
            return 1, 1 if exactly else None
        return self.min or 0, self.max


class Case(_Strict):
    """One picture or clip and what is to be seen on it.

    A pipeline that tracks is shown a picture as often as it takes to be sure of what stands still on
    it. Over a clip, objects are told apart by their track ids, and have the attributes that they had
    when last seen; where nothing tracks, the frame with most of them counts.
    """

    file: ArchivePath
    """Path below `tests/`."""
    fps: Annotated[Positive, Field(le=1000)] = 10.0
    """Frames of a clip that are analysed for each of its seconds."""
    expect: Annotated[tuple[Expectation, ...], Field(strict=False)]
    """All of this is to be seen."""
    exactly: bool = False
    """And nothing else: no event that is not expected."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.expect and not self.exactly:
            raise ValueError("expects nothing: name an object, or say exactly for a file that shows none")
        return self


class Expected(_Strict):
    """A whole `tests/expected.json`."""

    cases: Annotated[tuple[Case, ...], Field(strict=False)]
    """In the order in which they are run."""


class ExpectationsInvalid(ModelInvalid):
    """The archive's tests/expected.json is wrong; `problems` holds every mistake."""

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(summary(self.problems, f"{FOLDER}/{FILE}: "))


def read_cases(folder: Path, spec: PipelineSpec) -> tuple[Case, ...]:
    """The cases of the archive unpacked in `folder`, whose pipeline is `spec`; none without the file.

    Raises ExpectationsInvalid for what the file says wrongly, for files that are not there, and for
    classes, attributes and branches that the pipeline never gives.
    """
    path = folder / FOLDER / FILE
    if not path.is_file():
        return ()
    try:
        data: object = json.loads(_text_of(path))
    except OSError as error:
        raise ExpectationsInvalid([Problem("", f"cannot be read ({error.strerror})")]) from None
    except (ValueError, RecursionError) as error:
        raise ExpectationsInvalid([Problem("", f"is not JSON: {error}")]) from None
    try:
        expected = Expected.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        raise ExpectationsInvalid([_problem(dict(mistake)) for mistake in mistakes[:MOST]]) from None
    problems = list(islice(_unmet(expected, folder / FOLDER, spec), MOST))
    if problems:
        raise ExpectationsInvalid(problems)
    return expected.cases


def _text_of(path: Path) -> str:
    """Raises ExpectationsInvalid where it is too long, OSError, ValueError where it is no text."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ExpectationsInvalid([Problem("", f"is larger than {MAX_BYTES >> 20} MiB")])
    return data.decode("utf-8-sig")


def _problem(mistake: dict[str, Any]) -> Problem:
    path, kind, value = json_path(mistake["loc"]), str(mistake["type"]), mistake["input"]
    if kind == "missing":
        return Problem(path, "is missing")
    if kind == "extra_forbidden":
        return Problem(path, "is no key that is known here")
    if kind in EXPECTED:
        return Problem(path, f"must be {EXPECTED[kind]}, not {_shown(value)}")
    message = str(mistake["msg"]).removeprefix("Value error, ").replace("Input should", "must", 1)
    return Problem(path, shortened(message[:1].lower() + message[1:], LINE))


def _shown(value: object) -> str:
    if value and isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return shortened(json.dumps(value))


def _unmet(expected: Expected, folder: Path, spec: PipelineSpec) -> Iterator[Problem]:
    """What the archive cannot fulfil, whatever its models see."""
    root = spec.pipeline
    nodes = [node for branch in root.branches for node in branch.walk()]
    attributes = sorted({node.attribute_name for node in nodes if node.attribute_name})
    branches = [node.model_id for node in nodes]
    classes = {name.casefold() for name in root.trigger_classes}
    for index, case in enumerate(expected.cases):
        if not (folder / case.file).is_file():
            yield Problem(
                json_path(("cases", index, "file")), f"there is no {FOLDER}/{shortened(case.file, LINE)}"
            )
        for number, expectation in enumerate(case.expect):
            place = ("cases", index, "expect", number)
            if expectation.class_name.casefold() not in classes:
                yield Problem(
                    json_path((*place, "class")),
                    f"{shortened(expectation.class_name)} is none of triggerClasses: "
                    + listed(root.trigger_classes),
                )
            yield from _unknown((*place, "attributes"), expectation.attributes, attributes, "attribute")
            yield from _unknown((*place, "branches"), expectation.branches, branches, "branch")


def _unknown(
    place: tuple[str | int, ...], names: Collection[str], known: Collection[str], what: str
) -> Iterator[Problem]:
    for name in names:
        if name not in known:
            yield Problem(
                json_path((*place, name)), f"no {what} of this pipeline has that name ({listed(known)})"
            )
