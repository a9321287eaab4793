"""Whether a server is away, or never answers one job: told by what it takes in between."""

from collections.abc import Iterable

_MOST = 32
"""Jobs that are remembered; a server that is away for long is met with more, which tells nothing new."""


class Suspects:
    """The jobs of one delivery at which its server was found away. Lives on the delivery's thread."""

    def __init__(self) -> None:
        self._blamed: set[int] = set()
        self._suspected: set[int] = set()

    def __len__(self) -> int:
        return len(self._blamed | self._suspected)

    def blame(self, seq: int) -> None:
        """The server was found away at this job."""
        if len(self) >= _MOST:
            self._blamed.clear()
            self._suspected.clear()
        self._suspected.discard(seq)
        self._blamed.add(seq)

    def taken(self, seq: int) -> None:
        """The server has answered this job: where it was found away at others before, it may be these."""
        self._suspected |= self._blamed
        self._blamed.clear()
        self._suspected.discard(seq)

    def has(self, seq: int) -> bool:
        """Whether the server has answered others since it was found away at this one."""
        return seq in self._suspected

    def last(self, due: Iterable[int]) -> list[int]:
        """These jobs, those that may be the trouble behind all others."""
        return sorted(due, key=lambda seq: (seq in self._blamed or seq in self._suspected, seq))
