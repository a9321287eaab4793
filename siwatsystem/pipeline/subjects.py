"""What is remembered of one object that is followed: its session, what was done for it, its votes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from siwatsystem.actions.base import Job
from siwatsystem.pipeline.events import BranchResult
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.votes import Ballot


@dataclass(eq=False, slots=True)
class Subject:
    """One object of a node, as long as a track of it lives. Used by one frame at a time, but by branches
    side by side, each of which keeps to its own node's entries."""

    session_id: int | str | None = None
    """Of its record, once there is one."""
    names: Mapping[str, object] = field(default_factory=dict[str, object])
    """What templates read of the frame on which it was first acted on."""
    done: set[str] = field(default_factory=set[str])
    """Actions that were carried out, by place in the archive."""
    written: dict[str, tuple[object, Mapping[str, Any]]] = field(
        default_factory=dict[str, tuple[object, Mapping[str, Any]]]
    )
    """Per record: the votes it was written from, and what was written."""
    waiting: dict[str, Job] = field(default_factory=dict[str, Job])
    """Messages that wait for votes to settle, as they would be sent now."""
    ballots: dict[str, Ballot] = field(default_factory=dict[str, Ballot])
    results: dict[str, BranchResult] = field(default_factory=dict[str, BranchResult])
    """The newest result of each node."""

    @property
    def known(self) -> bool:
        """Whether anything was done or asked about it yet."""
        return bool(self.done or self.ballots or self.session_id is not None)

    def session(self, of_display: int | str | None) -> int | str:
        """The session of its record: the display's when it began, else its own."""
        if self.session_id is None:
            self.session_id = str(uuid.uuid4()) if of_display is None else of_display
        return self.session_id

    def first(self, action: str) -> bool:
        """Whether this action was not carried out yet; from now on it was."""
        new = action not in self.done
        self.done.add(action)
        return new

    def vote(self, result: BranchResult) -> BranchResult:
        """Count a node's answer; returns the answer that stands."""
        vote = self._ballot(result.node).cast(result.class_name, result.confidence)
        voted = result.voted(vote)
        self.results[result.node.model_id] = voted
        return voted

    def abstain(self, node: Node) -> None:
        """The node was asked and had no answer."""
        self._ballot(node).abstain()
        vote, result = self._ballot(node).standing, self.results.get(node.model_id)
        if vote is not None and result is not None:
            self.results[node.model_id] = result.voted(vote)

    def closed(self, node: Node) -> bool:
        """Whether asking this node and all below it again changes nothing."""
        ballot = self.ballots.get(node.model_id)
        if ballot is None or not ballot.closed:
            return False
        # What is below a node that never had an answer cannot have one either.
        return ballot.standing is None or all(self.closed(branch) for branch in node.branches)

    def settled(self, model_id: str) -> bool:
        """Whether the votes of that node have had their last word."""
        ballot = self.ballots.get(model_id)
        return ballot is not None and ballot.closed

    def remembered(self, node: Node) -> dict[str, BranchResult]:
        """Results of earlier frames, of this node and all below it; their boxes are gone."""
        return {
            one.model_id: self.results[one.model_id].without_boxes()
            for one in node.walk()
            if one.model_id in self.results
        }

    def _ballot(self, node: Node) -> Ballot:
        return self.ballots.setdefault(node.model_id, Ballot(node.voting))


@dataclass(frozen=True, slots=True)
class Owner:
    """On whose behalf branches and actions run: an object, and whether it is acted on only once."""

    subject: Subject
    once: bool
