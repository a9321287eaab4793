"""Since when no backend is connected, where one had subscribed cameras before."""

from siwatsystem.overview.cameras import TEST_DISPLAY
from siwatsystem.worker import Worker

PATIENCE_SEC = 3.0
"""So long a backend may take to connect again before it is told."""


class Backend:
    """Looked at now and then; times in seconds since 1970."""

    def __init__(self) -> None:
        self._subscribed = False
        """Whether a backend ever did."""
        self._since: float | None = None

    def look(self, at: float, *, subscribed: bool, connected: bool) -> None:
        """Note whether cameras are subscribed and whether a backend is connected at that time."""
        self._subscribed = self._subscribed or subscribed
        if connected or not self._subscribed:
            self._since = None
        elif self._since is None:
            self._since = at

    def gone(self, at: float) -> float | None:
        """Since when there is none; None while there is, was never, or may be back in a moment."""
        return None if self._since is None or at - self._since < PATIENCE_SEC else self._since


def presence(worker: Worker) -> dict[str, bool]:
    """What `Backend.look` is to be told. A page that runs tests alone is no backend; a connection that has
    subscribed nothing may be one."""
    holders: dict[bool, set[int | None]] = {True: set(), False: set()}
    for subscription in worker.subscriptions.all():
        test = subscription.display_id == TEST_DISPLAY
        holders[test].add(worker.subscriptions.holder(subscription.identifier))
    pages = holders[True] - holders[False]
    return {
        "subscribed": bool(holders[False]),
        "connected": any(connection.id not in pages for connection in worker.connections.all()),
    }
