"""What has to be known of a model beside its weights: task, class names, input, normalisation."""

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr as shown
from typing import Any, cast, get_args

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.backend import Task

Triple = tuple[float, float, float]

_GREATEST_STRIDE = 1024
_LONGEST_LITERAL = 1 << 20
_MOST_BYTES = 4 << 20
"""Of a metadata file; its parser is slow."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """`input_size` is height and width; `dynamic`: the network takes any multiple of `stride`.

    `mean` and `std` normalise RGB values of 0–1 (classification); `end2end`: the network's output
    needs no suppression of overlapping boxes.
    """

    task: Task
    names: dict[int, str]
    input_size: tuple[int, int]
    stride: int = 32
    dynamic: bool = True
    end2end: bool = False
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)


class Described:
    """The part of a backend that its metadata answers."""

    metadata: Metadata

    @property
    def task(self) -> Task:
        return self.metadata.task

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.metadata.names

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that pictures are brought to."""
        return self.metadata.input_size


def from_json(text: str) -> Metadata:
    """What `to_json` wrote. Raises ModelInvalid."""
    try:
        values: dict[str, Any] = json.loads(text)
        return checked(
            task=values["task"],
            names=values["names"],
            input_size=values["input_size"],
            stride=int(values["stride"]),
            dynamic=bool(values["dynamic"]),
            end2end=bool(values["end2end"]),
            mean=values["mean"],
            std=values["std"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelInvalid(f"the model's metadata.json cannot be read ({str(error)[:200]})") from None


def from_ultralytics(values: Mapping[str, Any], dynamic: bool) -> Metadata:
    """The metadata that ultralytics' exporters write; every value may be text (as in ONNX).

    Raises ModelInvalid naming what is missing.
    """
    read = {key: literal(value) for key, value in values.items()}
    missing = [key for key in ("task", "names", "imgsz") if not read.get(key)]
    if missing:
        raise ModelInvalid(f"the model's metadata lacks {', '.join(missing)}")
    if read.get("channels", 3) != 3:
        raise ModelInvalid(f"the model takes {shown(read['channels'])} channels, not 3")
    size = read["imgsz"]
    stride = read.get("stride", 32)
    if not isinstance(stride, int) and not (isinstance(stride, float) and math.isfinite(stride)):
        raise ModelInvalid(f"the model's stride {shown(stride)} is no number")
    return checked(
        task=read["task"],
        names=read["names"],
        input_size=[size, size] if isinstance(size, int) else size,
        stride=max(int(stride), 32),
        dynamic=dynamic,
        end2end=bool(read.get("end2end", False)),
    )


def read_beside(xml: Path) -> dict[str, Any] | Metadata:
    """What lies beside an OpenVINO model: ours as Metadata, ultralytics' as it is.

    Raises ModelInvalid where neither does.
    """
    ours, theirs = xml.with_name("metadata.json"), xml.with_name("metadata.yaml")
    if ours.is_file():
        return from_json(_text(ours))
    if not theirs.is_file():
        raise ModelInvalid(f"{xml.name}: neither metadata.yaml nor metadata.json lies beside it")
    import yaml

    try:
        values = yaml.safe_load(_text(theirs))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # The parser checks neither depth nor what it takes for a date.
        raise ModelInvalid(f"metadata.yaml cannot be read ({str(error)[:200]})") from None
    if not isinstance(values, dict):
        raise ModelInvalid("metadata.yaml holds no mapping")
    return cast(dict[str, Any], values)


def _text(file: Path) -> str:
    if file.stat().st_size > _MOST_BYTES:
        raise ModelInvalid(f"{file.name} is larger than {_MOST_BYTES >> 20} MB")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ModelInvalid(f"{file.name} is no text") from None


def checked(
    *,
    task: object,
    names: object,
    input_size: object,
    stride: int = 32,
    dynamic: bool = True,
    end2end: bool = False,
    mean: object = (0.0, 0.0, 0.0),
    std: object = (1.0, 1.0, 1.0),
) -> Metadata:
    """Metadata of values that came from a file. Raises ModelInvalid."""
    if task not in get_args(Task):
        raise ModelInvalid(f"the model's task is {shown(task)}; {' and '.join(get_args(Task))} are served")
    if not 1 <= stride <= _GREATEST_STRIDE:
        raise ModelInvalid(f"the model's stride {shown(stride)} is none")
    if not all(spread := triple(std)):
        raise ModelInvalid("the model's metadata names a standard deviation of 0")
    return Metadata(
        task=cast(Task, task),
        names=_names(names),
        input_size=size_of(input_size),
        stride=stride,
        dynamic=dynamic,
        end2end=end2end,
        mean=triple(mean),
        std=spread,
    )


def _names(value: object) -> dict[int, str]:
    if isinstance(value, list | tuple):
        value = dict(enumerate(cast(list[object], value)))
    if not isinstance(value, Mapping) or not value:
        raise ModelInvalid("the model has no class names")
    try:
        names = {int(key): str(name) for key, name in cast(Mapping[Any, object], value).items()}
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ModelInvalid("the model's class names are not numbered") from None
    if sorted(names) != list(range(len(names))):
        raise ModelInvalid("the model's class names are not numbered from 0")
    return dict(sorted(names.items()))


def size_of(value: object) -> tuple[int, int]:
    """A height and a width that came from a file. Raises ModelInvalid."""
    sides = list(cast(list[Any], value)) if isinstance(value, list | tuple) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 8 <= side <= 8192 for side in sides):
        raise ModelInvalid(f"the model's input size {shown(value)} is not a height and a width")
    return sides[0], sides[1]


def triple(value: object) -> Triple:
    """A number for red, green and blue each, which came from a file. Raises ModelInvalid."""
    if not isinstance(value, list | tuple) or len(cast(list[object], value)) != 3:
        raise ModelInvalid(f"{shown(value)} is not one number per channel")
    try:
        red, green, blue = (float(number) for number in cast(list[Any], value))
    except (ValueError, TypeError, OverflowError):
        raise ModelInvalid(f"{shown(value)} is not one number per channel") from None
    if not all(map(math.isfinite, (red, green, blue))):
        raise ModelInvalid(f"{shown(value)} is not one finite number per channel")
    return red, green, blue


def literal(value: Any) -> Any:
    """The value that a text of a file's metadata spells; the text itself where it spells none."""
    if not isinstance(value, str) or len(value) > _LONGEST_LITERAL:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, SystemError):
        # SystemError: Python's parser counts wrongly where a finalizer parses something in between.
        return value
