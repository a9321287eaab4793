"""Votes: on which class the answers of a node about one object settle. Pure."""

from collections import Counter
from dataclasses import dataclass

from siwatsystem.pipeline.tracking import Voting


@dataclass(frozen=True, slots=True)
class Vote:
    """Where a vote stands: the leading class, the mean confidence of those who gave it, the share of
    all `votes` that it has (0–1), and whether that is the last word."""

    class_name: str
    confidence: float
    support: float
    votes: int
    settled: bool


class Ballot:
    """The answers of one node about one object, frame by frame."""

    def __init__(self, voting: Voting) -> None:
        self._voting = voting
        self._counts: Counter[str] = Counter()
        self._confidence: Counter[str] = Counter()
        self._asked = 0
        self._first: float | None = None
        self._last = 0.0
        self._standing: Vote | None = None

    @property
    def standing(self) -> Vote | None:
        """Where the vote stands; None while nobody voted."""
        return self._standing

    @property
    def closed(self) -> bool:
        """Whether asking again changes nothing: it has settled, or `maxVotes` frames gave no answer."""
        settled = self._standing is not None and self._standing.settled
        return settled or self._asked >= self._voting.max_votes

    def cast(self, class_name: str, confidence: float, at: float) -> Vote:
        """The answer on the frame of the time `at` (seconds); what has settled stays. Returns where the
        vote stands then."""
        if self._standing is not None and self._standing.settled:
            return self._standing
        self._asked += 1
        self._first = at if self._first is None else self._first
        self._last = at
        self._counts[class_name] += 1
        self._confidence[class_name] += confidence  # pyright: ignore[reportArgumentType]
        self._standing = self._count()
        return self._standing

    def abstain(self) -> None:
        """One more frame on which the node had no answer."""
        self._asked += 1
        if self._counts and self._asked >= self._voting.max_votes:
            self._standing = self._count()

    def _count(self) -> Vote:
        # Of two classes with as many votes the surer one leads.
        leader = max(self._counts, key=lambda name: (self._counts[name], self._confidence[name]))
        votes, own = self._counts.total(), self._counts[leader]
        agreed = votes >= self._voting.min_votes and own >= self._voting.min_share * votes
        # A clock that goes back must not keep a vote open.
        spanned = self._first is None or abs(self._last - self._first) >= self._voting.min_seconds
        settled = (agreed and spanned) or self._asked >= self._voting.max_votes
        return Vote(leader, self._confidence[leader] / own, own / votes, votes, settled)
