"""Captures that were told to end: told about where their threads do not, counted, and bounded.

Nothing can end a thread that native code holds: it is left behind with what it has open.
"""

import logging
import time

from siwatsystem import metrics
from siwatsystem.streams.capture import Capture
from siwatsystem.streams.spec import SourceSpec

log = logging.getLogger(__name__)

GONE_SEC = 5.0
"""A thread that is there for longer hangs."""
MOST = 4
"""Threads of one camera that may hang before no further one is begun for it."""


class Ending:
    """Used under the pool's lock."""

    def __init__(self) -> None:
        self._since: dict[Capture, float] = {}
        self._hanging: set[Capture] = set()

    @property
    def captures(self) -> list[Capture]:
        """Those whose threads were still there at the last `sweep`."""
        return list(self._since)

    def add(self, capture: Capture) -> None:
        """It was stopped or given up just now."""
        self._since[capture] = time.monotonic()

    def has_room(self, spec: SourceSpec) -> bool:
        """Whether a further thread may be begun for that camera."""
        same = [one for one in self._since if one.source.spec == spec and one.running]
        return len(same) < MOST or not any(one in self._hanging for one in same)

    def sweep(self, now: float) -> list[Capture]:
        """Tell of those that hang; the captures that have ended, which are forgotten."""
        ended = [one for one in self._since if not one.running]
        for capture in ended:
            del self._since[capture]
            if capture in self._hanging:
                self._hanging.remove(capture)
                metrics.HANGING_READERS.dec()
                log.info("%s: a reader that hung has ended", capture.source.spec.label)
        for capture, since in self._since.items():
            if now - since > GONE_SEC and capture not in self._hanging:
                self._hanging.add(capture)
                metrics.HANGING_READERS.inc()
                label = capture.source.spec.label
                log.error("%s: a reader hangs and is left behind with what it has open", label)
        return ended
