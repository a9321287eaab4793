"""What the worker knows of each display's visit: sessions belong to displays, the last writer wins.

Pure, and bounded: what a backend never ends is forgotten, oldest first.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import orjson

from siwatsystem.errors import InvalidMessage

SessionId = int | str

MAX_DISPLAYS = 10_000
MAX_SESSIONS = 10_000
MAX_SESSION_BYTES = 64 * 1024
MAX_TOTAL_BYTES = 16 * 1024 * 1024
"""Of all sessions together, as JSON."""


class Displays:
    """Session by display, and the worker's copy of each session's data.

    A session id is the same whether it is written as a number or as text.
    """

    def __init__(self) -> None:
        self._session_of: OrderedDict[str, SessionId] = OrderedDict()
        self._data: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def set_session(self, display_id: str, session_id: SessionId | None) -> None:
        """The display is in that visit now; None: in none."""
        self._session_of.pop(display_id, None)
        if session_id is not None:
            self._session_of[display_id] = session_id
            if len(self._session_of) > MAX_DISPLAYS:
                self._session_of.popitem(last=False)

    def session_of(self, display_id: str) -> SessionId | None:
        return self._session_of.get(display_id)

    def patch(self, session_id: SessionId, data: Mapping[str, Any]) -> dict[str, Any]:
        """Merge `data` deeply: null sets null, objects merge, other values replace.

        Returns the merged copy. Raises InvalidMessage when it would grow beyond 64 KiB; the copy
        then stays as it was.
        """
        merged = merge(self.data(session_id), data)
        encoded = orjson.dumps(merged)
        if len(encoded) > MAX_SESSION_BYTES:
            raise InvalidMessage(f"the session's data would exceed {MAX_SESSION_BYTES // 1024} KiB")
        key = str(session_id)
        self._bytes += len(encoded) - len(self._data.pop(key, b""))
        self._data[key] = encoded
        while len(self._data) > MAX_SESSIONS or self._bytes > MAX_TOTAL_BYTES:
            _, oldest = self._data.popitem(last=False)
            self._bytes -= len(oldest)
        return merged

    def data(self, session_id: SessionId) -> dict[str, Any]:
        """The worker's copy of a session; empty for an unknown one."""
        encoded = self._data.get(str(session_id))
        return {} if encoded is None else orjson.loads(encoded)


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A deep merge of JSON objects; neither argument is changed."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            result[key] = merge(cast(dict[str, Any], before), cast(dict[str, Any], value))
        else:
            result[key] = value
    return result
