"""What is wrong with a pipeline.json, all of it at once."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from siwatsystem.errors import ModelInvalid, sendable

SHOWN = 10
LINE = 300
"""Characters of one mistake in the message of all: it goes over the wire, whatever an archive holds."""
MOST = 100
"""Mistakes that are looked for; a file with more of them is no pipeline that somebody wrote."""
NAME = 60
"""Characters of a name that are shown, and for which a similar one is looked for."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (`pipeline.branches[0].minConfidence`), what, and what to do about it."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return sendable(f"{text} ({self.hint})" if self.hint else text)


class PipelineInvalid(ModelInvalid):
    """The archive's pipeline.json is wrong; `problems` holds every mistake, the message up to ten."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(summary(self.problems))


def summary(problems: Sequence[Problem], before: str = "") -> str:
    """The first mistakes, each behind `before` and of a length that can be sent."""
    lines = [shortened(f"{before}{problem}", LINE) for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN} more")
    return "; ".join(lines)


def shortened(text: str, most: int = NAME) -> str:
    """`text`, or its beginning."""
    return text if len(text) <= most else f"{text[:most]}…"


def listed(names: Collection[str], most: int = 12) -> str:
    """The first of `names` and how many more there are; `none` where there are none."""
    shown = ", ".join(shortened(name) for name in islice(names, most)) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `name`. Long ones are like no other: comparing takes time
    that grows with the square of their length."""
    if len(name) > NAME:
        return None
    close = get_close_matches(name, sorted(one for one in known if len(one) <= NAME), n=1)
    return close[0] if close else None


def json_path(parts: Sequence[str | int]) -> str:
    """`("pipeline", "branches", 0)` as `pipeline.branches[0]`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{_key(part)}" if text else _key(part)
    return text


def _key(name: str) -> str:
    """A key as it is written, or in quotes where it could not be printed or sent."""
    return shortened(name if name.isprintable() else ascii(name))
