"""What followers begin with, made once for all who come at the same time.

A snapshot of many requests takes a good part of a second to make, and after a restart of the server all
followers come again at once. One that is a moment old will do: the changes since then follow.
"""

import time

import orjson

from siwatsystem.deepstream.slots import Control

OLDEST_SEC = 5.0


class Snapshots:
    """Used on the event loop."""

    def __init__(self) -> None:
        self._made = float("-inf")
        self._last_id = ""
        self._text = b""

    def latest(self, control: Control) -> tuple[str, bytes]:
        """Where to go on from, and its JSON text."""
        now = time.monotonic()
        fresh = now - self._made < OLDEST_SEC and control.changes.since(self._last_id) is not None
        if not fresh:
            snapshot = control.snapshot()
            self._made, self._last_id, self._text = now, str(snapshot["id"]), orjson.dumps(snapshot)
        return self._last_id, self._text
