"""What could not be told in real time, coalesced per session until a backend acknowledged it.

Pure. A session's values wait here until a connection subscribes its display, are then under way
until the backend answers, and come back if the connection is lost before.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from siwatsystem.messages import CURRENT_CAR_KEYS, PatchSessionOut

SessionId = int | str
Value = tuple[float, str | int | float | bool | None]
"""When the frame was captured that a value comes from, and the value."""


@dataclass(slots=True)
class _Pending:
    display_id: str
    since: float
    waiting: dict[str, Value] = field(default_factory=dict[str, Value])
    under_way: dict[str, Value] = field(default_factory=dict[str, Value])
    connection: int | None = None
    """Where `under_way` was sent."""


class Patches:
    """Late values by session; at most `max_sessions`, each for `keep_sec` at most."""

    def __init__(self, keep_sec: float, max_sessions: int = 10_000) -> None:
        self._keep_sec = keep_sec
        self._max_sessions = max_sessions
        self._pending: OrderedDict[SessionId, _Pending] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pending)

    def late(
        self,
        display_id: str,
        session_id: SessionId,
        attributes: Mapping[str, object],
        captured_at: float,
        now: float,
    ) -> None:
        """Attributes of a detection that is too late; of those of `currentCar` the newest win."""
        values = {key: _fitting(key, attributes[key]) for key in CURRENT_CAR_KEYS & attributes.keys()}
        values = {key: value for key, value in values.items() if value is not None}
        if not values:
            return
        pending = self._pending.get(session_id)
        if pending is None:
            pending = self._pending[session_id] = _Pending(display_id, now)
            if len(self._pending) > self._max_sessions:
                self._pending.popitem(last=False)
        pending.display_id = display_id
        _newest(pending.waiting, {key: (captured_at, value) for key, value in values.items()})

    def due(
        self, connection_of: Callable[[str], int | None], now: float
    ) -> list[tuple[int, PatchSessionOut]]:
        """What can be sent now, and to which connection; it is under way from here on.

        A session with an unanswered patch waits for the answer, so that answers stay unambiguous.
        """
        self.expire(now)
        result: list[tuple[int, PatchSessionOut]] = []
        for session_id, pending in self._pending.items():
            if not pending.waiting or pending.under_way:
                continue
            connection = connection_of(pending.display_id)
            if connection is None:
                continue
            pending.under_way, pending.waiting = pending.waiting, {}
            pending.connection = connection
            car = {key: value for key, (_, value) in sorted(pending.under_way.items())}
            body = {"sessionId": session_id, "data": {"currentCar": car}}
            result.append((connection, PatchSessionOut.model_validate(body)))
        return result

    def answered(self, connection: int, session_id: SessionId | None, success: bool) -> bool:
        """The backend's answer. A refused patch is not sent again. Whether one was under way."""
        pending = None if session_id is None else self._pending.get(session_id)
        if session_id is None or pending is None or pending.connection != connection:
            return False
        pending.under_way, pending.connection = {}, None
        if not pending.waiting:
            del self._pending[session_id]
        return True

    def lost(self, connection: int) -> None:
        """The connection is gone: what it did not answer waits again, under what is newer."""
        for pending in self._pending.values():
            if pending.connection == connection:
                _newest(pending.waiting, pending.under_way)
                pending.under_way, pending.connection = {}, None

    def expire(self, now: float) -> int:
        """Forget what nobody could be told for too long. Returns how many sessions that were."""
        over = [key for key, pending in self._pending.items() if now - pending.since > self._keep_sec]
        for key in over:
            del self._pending[key]
        return len(over)


def _newest(values: dict[str, Value], more: Mapping[str, Value]) -> None:
    for key, value in more.items():
        if key not in values or value[0] >= values[key][0]:
            values[key] = value


def _fitting(key: str, value: object) -> str | int | None:
    """`value` as the backend's session has it: `carYear` a number, the others text."""
    if value is None:
        return None
    if key == "carYear":
        try:
            return int(str(value))
        except ValueError:
            return None
    return str(value)
