"""What waits to be sent to one client, bounded. Pure: the route's sender pulls, the worker puts.

A slow client costs itself only: of state reports the newest is kept, of detections so many per
subscription, and what overflows or grows too old is handed back, to go the `patchSession` way.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from siwatsystem.config import WebSocketSettings
from siwatsystem.messages import ErrorMessage, ImageDetection, Outgoing, StateReport

MAX_REPLIES = 1000
"""Answers that may wait. Errors give way, oldest first; what must not be lost ends the connection."""


@dataclass(frozen=True, slots=True)
class QueuedDetection:
    """A detection on its way, with what is needed should it come too late."""

    message: ImageDetection
    display_id: str
    session_id: int | str | None
    attributes: Mapping[str, object]
    captured_at: float
    """Seconds since 1970."""


class Outbound:
    """The queue of one client: replies first, then the state, then detections in fair turns."""

    def __init__(self, settings: WebSocketSettings, deadline_ms: float) -> None:
        self._most = settings.detections_per_subscription
        self._deadline_sec = deadline_ms / 1000
        self._replies: deque[Outgoing] = deque()
        self._state: StateReport | None = None
        self._detections: OrderedDict[str, deque[QueuedDetection]] = OrderedDict()

    def __len__(self) -> int:
        waiting = sum(len(queue) for queue in self._detections.values())
        return len(self._replies) + waiting + (self._state is not None)

    def put_state(self, message: StateReport) -> None:
        """Only the newest state is ever sent."""
        self._state = message

    def put_reply(self, message: Outgoing) -> bool:
        """Queue an answer. False: there is no room, and the client must go."""
        if len(self._replies) >= MAX_REPLIES:
            oldest = next((reply for reply in self._replies if isinstance(reply, ErrorMessage)), None)
            if oldest is None:
                return False
            self._replies.remove(oldest)
        self._replies.append(message)
        return True

    def put_detection(self, item: QueuedDetection) -> list[QueuedDetection]:
        """Queue a detection. Returns the oldest of its subscription that had to give way."""
        queue = self._detections.setdefault(item.message.subscription_identifier, deque())
        queue.append(item)
        return [queue.popleft()] if len(queue) > self._most else []

    def forget(self, identifier: str) -> list[QueuedDetection]:
        """Take out what waits for a subscription that has ended here."""
        return list(self._detections.pop(identifier, ()))

    def next(self, now: float) -> tuple[Outgoing | None, list[QueuedDetection]]:
        """What to send now (`now`: seconds since 1970), and the detections that are too late for it."""
        if self._replies:
            return self._replies.popleft(), []
        if self._state is not None:
            state, self._state = self._state, None
            return state, []
        late: list[QueuedDetection] = []
        while self._detections:
            identifier, queue = next(iter(self._detections.items()))
            item = queue.popleft()
            if queue:
                self._detections.move_to_end(identifier)
            else:
                del self._detections[identifier]
            if now - item.captured_at <= self._deadline_sec:
                return item.message, late
            late.append(item)
        return None, late

    def drain(self) -> list[QueuedDetection]:
        """Everything that was never sent; the queue is empty afterwards."""
        left = [item for queue in self._detections.values() for item in queue]
        self._detections.clear()
        self._replies.clear()
        self._state = None
        return left
