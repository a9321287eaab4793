"""What waits to be sent to one client, bounded. Pure: the route's sender pulls, the worker puts.

A slow client costs itself only: of state reports the newest is kept, of detections so many per
subscription, and what overflows or grows too old is handed back, to go the `patchSession` way.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from siwatsystem import metrics
from siwatsystem.config import WebSocketSettings
from siwatsystem.messages import (
    Encoded,
    ErrorMessage,
    ImageDetection,
    Outgoing,
    Sendable,
    StateReport,
    encode,
)

MAX_REPLIES = 1000
"""Answers that may wait. Errors give way, oldest first; what must not be lost ends the connection."""


@dataclass(frozen=True, slots=True)
class QueuedDetection:
    """A detection on its way, with what is needed should it come too late."""

    message: ImageDetection | Encoded
    display_id: str
    session_id: int | str | None
    attributes: Mapping[str, object]
    captured_at: float
    """Seconds since 1970."""


class Outbound:
    """The queue of one client: replies first, then the state, then detections in fair turns.

    At most `queue_kb` wait, as they will lie on the wire; the one state report comes on top.
    """

    def __init__(self, settings: WebSocketSettings, deadline_ms: float) -> None:
        self._most = settings.detections_per_subscription
        self._max_bytes = settings.queue_kb * 1024
        self._deadline_sec = deadline_ms / 1000
        self._replies: deque[tuple[Outgoing, int]] = deque()
        self._state: StateReport | Encoded | None = None
        self._detections: OrderedDict[str, deque[tuple[QueuedDetection, int]]] = OrderedDict()
        self._reply_bytes = 0
        self._detection_bytes = 0

    def __len__(self) -> int:
        waiting = sum(len(queue) for queue in self._detections.values())
        return len(self._replies) + waiting + (self._state is not None)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the replies and detections that wait."""
        return self._reply_bytes + self._detection_bytes

    def put_state(self, message: StateReport | Encoded) -> None:
        """Only the newest state is ever sent."""
        self._state = message

    def put_reply(self, message: Outgoing) -> bool:
        """Queue an answer. False: there is no room, and the client must go."""
        size = _size(message)
        while self._replies and not self._has_room(size):
            if not self._drop_oldest_error():
                return False
        self._replies.append((message, size))
        self._reply_bytes += size
        return True

    def put_detection(self, item: QueuedDetection) -> list[QueuedDetection]:
        """Queue a detection. Returns those that had to give way: the oldest of the longest queues."""
        size = _size(item.message)
        identifier = item.message.subscription_identifier or ""
        self._detections.setdefault(identifier, deque()).append((item, size))
        self._detection_bytes += size
        overflow: list[QueuedDetection] = []
        if len(self._detections[identifier]) > self._most:
            overflow.append(self._take(identifier))
        while self._detections and self.waiting_bytes > self._max_bytes:
            overflow.append(self._take(max(self._detections, key=lambda key: len(self._detections[key]))))
        return overflow

    def forget(self, identifier: str) -> list[QueuedDetection]:
        """Take out what waits for a subscription that has ended here."""
        items = self._detections.pop(identifier, ())
        self._detection_bytes -= sum(size for _, size in items)
        return [item for item, _ in items]

    def next(self, now: float) -> tuple[Sendable | None, list[QueuedDetection]]:
        """What to send now (`now`: seconds since 1970), and the detections that are too late for it."""
        if self._replies:
            reply, size = self._replies.popleft()
            self._reply_bytes -= size
            return reply, []
        if self._state is not None:
            state, self._state = self._state, None
            return state, []
        late: list[QueuedDetection] = []
        while self._detections:
            identifier = next(iter(self._detections))
            item = self._take(identifier)
            if identifier in self._detections:
                self._detections.move_to_end(identifier)
            if now - item.captured_at <= self._deadline_sec:
                return item.message, late
            late.append(item)
        return None, late

    def drain(self) -> list[QueuedDetection]:
        """Everything that was never sent; the queue is empty afterwards."""
        left = [item for queue in self._detections.values() for item, _ in queue]
        self._detections.clear()
        self._replies.clear()
        self._state = None
        self._reply_bytes = self._detection_bytes = 0
        return left

    def _has_room(self, size: int) -> bool:
        return len(self._replies) < MAX_REPLIES and self._reply_bytes + size <= self._max_bytes

    def _drop_oldest_error(self) -> bool:
        for index, (reply, size) in enumerate(self._replies):
            if isinstance(reply, ErrorMessage):
                del self._replies[index]
                self._reply_bytes -= size
                metrics.ERRORS_UNSENT.inc()
                return True
        return False

    def _take(self, identifier: str) -> QueuedDetection:
        """The oldest detection of a subscription."""
        queue = self._detections[identifier]
        item, size = queue.popleft()
        self._detection_bytes -= size
        if not queue:
            del self._detections[identifier]
        return item


def _size(message: Sendable) -> int:
    """Bytes on the wire."""
    text = encode(message)
    return len(text) if text.isascii() else len(text.encode())
