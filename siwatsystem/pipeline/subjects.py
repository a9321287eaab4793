"""What is remembered of one object that is followed: its session, what was done for it, its votes."""

import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from siwatsystem.actions.base import Job
from siwatsystem.pipeline.events import BranchResult
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.votes import Ballot

Written = tuple[object, Mapping[str, Any]]
"""The votes that a record was written from, and what was written."""


@dataclass(eq=False, slots=True)
class Subject:
    """One object of a node, as long as a track of it lives. Used by one frame at a time, but by branches
    side by side, each of which keeps to its own node's entries.

    A branch that tracks finds objects in this one (the plate of a car): what the nodes below that
    branch say is remembered with these, and asked for through this one.
    """

    session_id: int | str | None = None
    """Of its record, once there is one."""
    of_display: bool = False
    """Whether that is a display's."""
    names: dict[str, object] = field(default_factory=dict[str, object])
    """What templates read of the frame on which it was first acted on."""
    done: set[str] = field(default_factory=set[str])
    """Actions that were carried out, by place in the archive."""
    written: dict[str, Written] = field(default_factory=dict[str, Written])
    waiting: dict[str, Job] = field(default_factory=dict[str, Job])
    """Messages that wait for votes to settle, as they would be sent now."""
    lane: str = field(default_factory=lambda: secrets.token_hex(16))
    """Where the outbox keeps its events in order."""
    ballots: dict[str, Ballot] = field(default_factory=dict[str, Ballot])
    results: dict[str, BranchResult] = field(default_factory=dict[str, BranchResult])
    """The newest result of each node."""
    parts: dict[str, "Subject"] = field(default_factory=dict[str, "Subject"])
    """What branches that track found in it last, by `modelId`."""
    whole: Optional["Subject"] = None
    """What it was found in."""

    @property
    def known(self) -> bool:
        """Whether anything was done or asked about it yet."""
        return bool(self.done or self.ballots or self.session_id is not None)

    def session(self, of_display: int | str | None) -> int | str:
        """The session of its record: the first one that its display has in its life, until then its own.

        A later one is that of another visit.
        """
        if not self.of_display and of_display is not None:
            self.session_id, self.of_display = of_display, True
        if self.session_id is None:
            self.session_id = str(uuid.uuid4())
        return self.session_id

    def lane_of(self, session_id: int | str | None) -> str:
        """The lane of its events: that of the session where it has one."""
        if session_id is not None:
            self.lane = str(session_id)
        return self.lane

    def first(self, action: str) -> bool:
        """Whether this action was not carried out yet; from now on it was."""
        new = action not in self.done
        self.done.add(action)
        return new

    def vote(self, result: BranchResult, at: float) -> BranchResult:
        """Count a node's answer on the frame of the time `at`; returns the answer that stands."""
        vote = self._ballot(result.node).cast(result.class_name, result.confidence, at)
        voted = result.voted(vote)
        self.results[result.node.model_id] = voted
        return voted

    def standing(self, result: BranchResult) -> BranchResult:
        """What stands against a node's answer that does not count; that answer where nothing does."""
        return self.results.get(result.node.model_id, result)

    def abstain(self, node: Node) -> None:
        """The node was asked and had no answer."""
        ballot = self._ballot(node)
        ballot.abstain()
        result = self.results.get(node.model_id)
        if ballot.standing is not None and result is not None:
            self.results[node.model_id] = result.voted(ballot.standing)

    def found(self, node: Node, part: "Subject") -> None:
        """A branch that tracks found `part` in this object."""
        self.parts[node.model_id] = part
        part.whole = self

    def closed(self, node: Node) -> bool:
        """Whether asking this node and all below it again changes nothing."""
        ballot = self.ballots.get(node.model_id)
        if ballot is None or not ballot.closed:
            return False
        below = self.parts.get(node.model_id, self)
        # What is below a node that never had an answer cannot have one either.
        return ballot.standing is None or all(below.closed(branch) for branch in node.branches)

    def settled(self, model_id: str) -> bool:
        """Whether the votes of that node, here or in what it was found in, have had their last word."""
        ballots = (one.ballots[model_id] for one in self._related() if model_id in one.ballots)
        ballot = next(ballots, None)
        return ballot is not None and ballot.closed

    def remembered(self, node: Node) -> dict[str, BranchResult]:
        """Results of earlier frames, of this node and all below it; their boxes are gone."""
        result = self.results.get(node.model_id)
        found = {} if result is None else {node.model_id: result.without_boxes()}
        below = self.parts.get(node.model_id, self)
        for branch in node.branches:
            found |= below.remembered(branch)
        return found

    def _related(self) -> Iterator["Subject"]:
        """This object, its parts, and what it is a part of."""
        waiting: list[Subject] = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting += one.parts.values()
        if self.whole is not None:
            yield self.whole

    def _ballot(self, node: Node) -> Ballot:
        return self.ballots.setdefault(node.model_id, Ballot(node.voting))


@dataclass(frozen=True, slots=True)
class Owner:
    """On whose behalf branches and actions run: an object, and whether it is acted on only once."""

    subject: Subject
    once: bool
