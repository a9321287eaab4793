"""What goes into a run and what comes out: the context of a subscription, the events of a frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from siwatsystem.detections import Detection, Xyxy
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.votes import Vote
from siwatsystem.tracing.tracer import FrameSpans


@dataclass(frozen=True, slots=True)
class EventContext:
    """Whose frame it is. `captured_at`: seconds since 1970."""

    camera_id: str = "unknown"
    display_id: str = "unknown"
    session_id: int | str | None = None
    captured_at: float = 0.0
    spans: FrameSpans | None = None
    """The frame's trace; None for a frame that is not sampled."""


@dataclass(frozen=True, slots=True)
class BranchResult:
    """What a branch made of its crop: a class, and where it detects, its boxes in the picture."""

    node: Node
    class_name: str
    confidence: float
    tracker_id: int | None = None
    boxes: tuple[Detection, ...] = ()
    vote: Vote | None = None
    """Where the votes over the frames of its track stand; None where nothing tracks."""

    def voted(self, vote: Vote) -> "BranchResult":
        """The same result with the class and confidence that the votes say."""
        return replace(self, class_name=vote.class_name, confidence=vote.confidence, vote=vote)

    def without_boxes(self) -> "BranchResult":
        """The result as it is remembered on a frame on which the branch did not run."""
        return replace(self, boxes=()) if self.boxes else self

    def as_dict(self) -> dict[str, Any]:
        """`{class, confidence, id, <resultField>}`, and where votes are counted `support`, `votes`
        and `settled`."""
        found: dict[str, Any] = {
            "class": self.class_name,
            "confidence": self.confidence,
            "id": self.tracker_id,
        }
        if self.node.result_name is not None:
            found[self.node.result_name] = self.class_name
        if self.vote is not None:
            found |= {"support": self.vote.support, "votes": self.vote.votes, "settled": self.vote.settled}
        return found


@dataclass(frozen=True, slots=True)
class Event:
    """One relevant object (or frame): its detection, its parts, and what the branches said."""

    detection: Detection
    regions: Mapping[str, Detection] = field(default_factory=dict[str, Detection])
    branches: Mapping[str, BranchResult] = field(default_factory=dict[str, BranchResult])
    session_id: int | str | None = None

    @property
    def class_name(self) -> str:
        return self.detection.class_name

    @property
    def confidence(self) -> float:
        return self.detection.confidence

    @property
    def xyxy(self) -> Xyxy:
        """In pixels of the picture that the pipeline was given."""
        return self.detection.xyxy

    @property
    def tracker_id(self) -> int | None:
        return self.detection.tracker_id

    @property
    def boxes(self) -> tuple[Detection, ...]:
        """Every box of the event, for drawing."""
        return (*self.regions.values(), *(box for branch in self.branches.values() for box in branch.boxes))

    @property
    def attributes(self) -> dict[str, str | float]:
        """The flat attributes of the wire, each with its confidence and the support of its votes."""
        found: dict[str, str | float] = {}
        for branch in self.branches.values():
            name = branch.node.attribute_name
            if name is not None:
                found[name] = branch.class_name
                found[f"{name}Confidence"] = round(branch.confidence, 4)
                if branch.vote is not None:
                    found[f"{name}Support"] = round(branch.vote.support, 4)
        return found

    def as_dict(self) -> dict[str, Any]:
        """The result of `run_pipeline`."""
        return {
            "class": self.class_name,
            "confidence": self.confidence,
            "id": self.tracker_id,
            "bbox": list(self.xyxy),
            "branch_results": {name: branch.as_dict() for name, branch in self.branches.items()},
            "session_id": self.session_id,
        }
