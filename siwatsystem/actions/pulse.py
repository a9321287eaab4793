"""Threads of the outbox that can be watched from outside."""

import threading
import time
from collections.abc import Callable


class PulsedThread:
    """A daemon thread that says when it last came round."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._since: float | None = time.monotonic()
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    def start(self) -> None:
        """Raises RuntimeError where the system has no thread left."""
        self._since = time.monotonic()
        self._thread.start()

    def beat(self) -> None:
        """By the thread: something begins that ends in time if all is well."""
        self._since = time.monotonic()

    def rest(self) -> None:
        """By the thread: it waits for work, or until a server that is away is asked again."""
        self._since = None

    def complaint(self, now: float, limit: float) -> str | None:
        """Why it needs a successor at `now` (`time.monotonic()`): it has ended, or has not come round for
        `limit` seconds; None while it is well."""
        if not self._thread.is_alive():
            return "its thread has ended"
        since = self._since
        if since is not None and now - since > limit:
            return f"it has not come round for {now - since:.0f} s"
        return None

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()
