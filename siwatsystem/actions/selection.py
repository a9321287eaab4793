"""Which jobs of the outbox are meant, and what is asked to be done with them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["waiting", "failed"]

FITS = """
    (:seqs IS NULL OR seq IN (SELECT value FROM json_each(:seqs)))
    AND (:targets IS NULL OR target IN (SELECT value FROM json_each(:targets)))
    AND (:kind IS NULL OR kind = :kind)
    AND (:lane IS NULL OR lane = :lane)
    AND (:before IS NULL OR created < :before)
"""
"""The condition on a row of `jobs` or `failed`; `Selection.values` are its values."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Jobs that fit all that is given; nothing given means all."""

    seqs: tuple[int, ...] | None = None
    targets: tuple[str, ...] | None = None
    """Keys of servers."""
    kind: str | None = None
    session: str | None = None
    """The lane: a session's id."""
    before: float | None = None
    """Unix time: made earlier than that."""
    state: State | None = None

    def values(self) -> dict[str, object]:
        """What `FITS` asks for."""
        return {
            "seqs": None if self.seqs is None else json.dumps(self.seqs),
            "targets": None if self.targets is None else json.dumps(self.targets),
            "kind": self.kind,
            "lane": None if self.session is None else f"lane:{self.session}",
            "before": self.before,
        }

    @property
    def states(self) -> tuple[State, ...]:
        """Of the jobs that are meant."""
        return ("waiting", "failed") if self.state is None else (self.state,)

    def has(self, state: State) -> bool:
        """Whether jobs of that state are meant."""
        return self.state in (None, state)


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of the outbox."""

    do: Literal["retry", "drop"]
    selection: Selection

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> "Request":
        """The request. Raises ValueError where it is none."""
        try:
            given: Mapping[str, Any] = json.loads(text)
            chosen = dict(given["selection"])
            for name in ("seqs", "targets"):
                chosen[name] = None if chosen[name] is None else tuple(chosen[name])
            if given["do"] not in ("retry", "drop"):
                raise ValueError(given["do"])
            return Request(given["do"], Selection(**chosen))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no request: {error}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """How many jobs it was done to: that waited, and that had failed. `left`: failed ones that cannot be
    tried again, because their picture or their server is not known any more."""

    waiting: int = 0
    failed: int = 0
    left: int = 0
    error: str | None = None

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> "Answer":
        return Answer(**json.loads(text))
