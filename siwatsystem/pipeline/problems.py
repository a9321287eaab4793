"""What is wrong with a pipeline.json, all of it at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from siwatsystem.errors import ModelInvalid

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (`pipeline.branches[0].minConfidence`), what, and what to do about it."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.hint})" if self.hint else text


class PipelineInvalid(ModelInvalid):
    """The archive's pipeline.json is wrong; `problems` holds every mistake, the message up to ten."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN} more")
        super().__init__("; ".join(lines))


def json_path(parts: Sequence[str | int]) -> str:
    """`("pipeline", "branches", 0)` as `pipeline.branches[0]`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
