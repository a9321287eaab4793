"""What a worker said that fails, and did not yet say that it is over."""

from siwatsystem.client.reading import WorkerError
from siwatsystem.errors import MOST_TEXT

MOST = 8
"""Failures that are remembered of one subscription; a worker has four kinds of them."""


class Failures:
    """The newest of each kind, of each subscription.

    What a worker calls `stream_unreachable` at first and `stream_unauthorized` later is one failure, that of
    the stream, and over with what ends the later one: kinds are the first words of codes.
    """

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}

    def hear(self, identifier: str, error: WorkerError) -> None:
        known = self._of.setdefault(identifier, {})
        kind = error.code.partition("_")[0]
        known.pop(kind, None)
        if not error.resolved:
            known[kind] = error.error[:MOST_TEXT]
        if len(known) > MOST:
            del known[next(iter(known))]
        if not known:
            del self._of[identifier]

    def of(self, identifier: str) -> list[str]:
        """Their texts, the newest last."""
        return list(self._of.get(identifier, {}).values())

    def take(self, identifier: str) -> dict[str, str]:
        """Forget those of a subscription; they may be `put` back."""
        return self._of.pop(identifier, {})

    def put(self, identifier: str, taken: dict[str, str]) -> None:
        self._of.pop(identifier, None)
        if taken:
            self._of[identifier] = taken

    def clear(self) -> None:
        self._of.clear()
