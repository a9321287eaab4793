"""What could not be told in real time, coalesced per session until a backend acknowledged it.

Pure. A session's values wait here until a connection subscribes its display, are then under way
until the backend answers, and come back if the connection is lost before.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from siwatsystem import metrics
from siwatsystem.messages import CURRENT_CAR_KEYS, PatchSessionOut

SessionId = int | str

ANSWER_SEC = 10.0
"""A patch that is unanswered for so long holds up no further one; its values go along with them."""
MAX_UNDER_WAY = 100
"""Patches that one connection is sent before it has answered some."""
MAX_TEXT = 256


@dataclass(frozen=True, slots=True)
class _Value:
    value: str | int
    captured_at: float
    since: float
    """When it came here: it is kept for so long from then on."""


Values = dict[str, _Value]


@dataclass(slots=True)
class _Pending:
    session_id: SessionId
    display_id: str
    waiting: Values = field(default_factory=dict[str, _Value])
    under_way: Values = field(default_factory=dict[str, _Value])
    connection: int | None = None
    """Where `under_way` was sent."""
    unanswered: int = 0
    """How often it was sent there: one answer does not stand for two messages."""
    sent_at: float = 0.0

    def send(self, connection: int, now: float) -> PatchSessionOut:
        if self.connection != connection:
            self.unanswered = 0
        newest = self.under_way
        _merge(newest, self.waiting)
        self.waiting = {}
        self.connection, self.unanswered, self.sent_at = connection, self.unanswered + 1, now
        car = {key: newest[key].value for key in sorted(newest)}
        return PatchSessionOut.model_validate({"sessionId": self.session_id, "data": {"currentCar": car}})

    def settle(self) -> None:
        """Nothing is under way any more."""
        self.under_way, self.connection, self.unanswered = {}, None, 0

    def take_back(self) -> None:
        newest = self.under_way
        _merge(newest, self.waiting)
        self.waiting = newest
        self.settle()

    def forget_before(self, limit: float) -> None:
        self.waiting = {key: value for key, value in self.waiting.items() if value.since > limit}
        self.under_way = {key: value for key, value in self.under_way.items() if value.since > limit}
        if not self.under_way:
            self.settle()

    def oldest(self) -> float:
        values = (*self.waiting.values(), *self.under_way.values())
        return min((value.since for value in values), default=float("inf"))

    def is_held_up(self, now: float) -> bool:
        return bool(self.under_way) and now - self.sent_at < ANSWER_SEC


class Patches:
    """Late values by session: of at most `max_sessions`, each value for `keep_sec` at most.

    A session id is the same whether it is written as a number or as text.
    """

    def __init__(self, keep_sec: float, max_sessions: int = 10_000) -> None:
        self._keep_sec = keep_sec
        self._max_sessions = max_sessions
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._next_expiry = float("inf")

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
        fitting = {key: _fitting(key, attributes[key]) for key in CURRENT_CAR_KEYS & attributes.keys()}
        values = {key: _Value(value, captured_at, now) for key, value in fitting.items() if value is not None}
        if not values:
            return
        key = str(session_id)
        pending = self._pending.setdefault(key, _Pending(session_id, display_id))
        pending.session_id, pending.display_id = session_id, display_id
        news = {
            name: value for name, value in values.items() if _is_newer(value, pending.under_way.get(name))
        }
        _merge(pending.waiting, news)
        self._pending.move_to_end(key)
        self._next_expiry = min(self._next_expiry, now + self._keep_sec)
        if len(self._pending) > self._max_sessions:
            self._pending.popitem(last=False)
            metrics.PATCHES.labels("dropped").inc()

    def due(
        self, connection_of: Callable[[str], int | None], now: float
    ) -> list[tuple[int, PatchSessionOut]]:
        """What can be sent now, and to which connection; it is under way from here on.

        A session waits for the answer to its last patch, and a connection is sent only so many
        before it answers: what comes together meanwhile becomes one message.
        """
        self.expire(now)
        under_way = Counter(one.connection for one in self._pending.values() if one.is_held_up(now))
        result: list[tuple[int, PatchSessionOut]] = []
        for pending in self._pending.values():
            if not pending.waiting or pending.is_held_up(now):
                continue
            connection = connection_of(pending.display_id)
            if connection is None or under_way[connection] >= MAX_UNDER_WAY:
                continue
            under_way[connection] += 1
            result.append((connection, pending.send(connection, now)))
        metrics.PATCHES.labels("sent").inc(len(result))
        return result

    def answered(self, connection: int, session_id: SessionId | None, success: bool) -> bool:
        """The backend's answer. A refused patch is not sent again. Whether one was under way."""
        pending = self._pending.get(str(session_id))
        if pending is None or not pending.under_way or pending.connection != connection:
            return False
        metrics.PATCHES.labels("accepted" if success else "refused").inc()
        pending.unanswered -= 1
        if not pending.unanswered:
            pending.settle()
            if not pending.waiting:
                del self._pending[str(session_id)]
        return True

    def lost(self, connection: int) -> None:
        """The connection is gone: what it did not answer waits again, under what is newer."""
        for pending in self._pending.values():
            if pending.connection == connection:
                pending.take_back()

    def expire(self, now: float) -> int:
        """Forget what nobody could be told for too long. Returns how many sessions nothing is left of."""
        if now < self._next_expiry:
            return 0
        for pending in self._pending.values():
            pending.forget_before(now - self._keep_sec)
        over = [
            key for key, pending in self._pending.items() if not pending.waiting and not pending.under_way
        ]
        for key in over:
            del self._pending[key]
        oldest = min((pending.oldest() for pending in self._pending.values()), default=float("inf"))
        self._next_expiry = oldest + self._keep_sec
        metrics.PATCHES.labels("expired").inc(len(over))
        return len(over)


def _is_newer(value: _Value, than: _Value | None) -> bool:
    """Two of the same moment are of the same frame: then the one that came last counts."""
    return than is None or value.captured_at >= than.captured_at


def _merge(values: Values, more: Values) -> None:
    for key, value in more.items():
        if _is_newer(value, values.get(key)):
            values[key] = value


def _fitting(key: str, value: object) -> str | int | None:
    """`value` as the backend's session has it: `carYear` a number, the others text."""
    if value is None:
        return None
    if key != "carYear":
        return str(value)[:MAX_TEXT]
    try:
        year = float(str(value))
    except ValueError:
        return None
    return int(year) if 1 <= year <= 9999 else None
