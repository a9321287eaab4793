"""Log lines about what would else be said many times a second."""

import logging
import time

log = logging.getLogger(__name__)

PAUSE_SEC = 60.0
SHOWN = 300
"""Characters of a reason."""


class Complaints:
    """Of one connection's other side: the first is logged, then one a minute with how many came meanwhile."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._unsaid = 0
        self._next = 0.0

    def add(self, reason: str) -> None:
        if time.monotonic() < self._next:
            self._unsaid += 1
            return
        self._next = time.monotonic() + PAUSE_SEC
        more = f" ({self._unsaid} more since the last such line)" if self._unsaid else ""
        self._unsaid = 0
        log.warning("%s: a message that this client does not know: %s%s", self._about, reason[:SHOWN], more)
