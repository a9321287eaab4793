"""What happened to one picture on its way through the nodes, for whoever wants to look."""

from dataclasses import dataclass, field
from typing import Literal

from siwatsystem.detections import Detection


@dataclass(frozen=True, slots=True)
class Step:
    """One node on one picture (or part of it): what it did and why, in words."""

    model_id: str
    outcome: Literal["ran", "skipped", "failed"]
    reason: str
    result: str = ""
    seconds: float = 0.0
    began: float = 0.0
    """By `time.perf_counter()`; 0 where it did not run."""


@dataclass(slots=True)
class Trace:
    """Filled by `Pipeline.run`; `seen` are the root's boxes with their ids, also of what is no event."""

    seen: tuple[Detection, ...] = ()
    steps: list[Step] = field(default_factory=list[Step])
