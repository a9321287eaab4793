"""Who wants what: the subscriptions of all connections, and what a command changes about them.

Pure: no clock, no I/O. The worker applies the returned `Changes` to sources and pipelines.
"""

from collections import Counter
from dataclasses import dataclass, field

from siwatsystem.errors import MaxStreamsReached, Overloaded, UnknownSubscription
from siwatsystem.frames import Crop
from siwatsystem.messages import SubscribePayload
from siwatsystem.streams.spec import SourceSpec

UNKNOWN_DISPLAY = "unknown"
MAX_SUBSCRIPTIONS = 10_000
"""Of all connections together; many displays may look at one source, so `max_streams` does not bound them."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A display's interest in a camera. `legacy`: it was named by `cameraIdentifier` alone."""

    identifier: str
    source: SourceSpec
    model_id: int | str
    model_name: str
    model_url: str
    crop: Crop | None = None
    legacy: bool = False

    @property
    def display_id(self) -> str:
        """What stands before the first `;`, `unknown` where nothing does."""
        display, separator, _ = self.identifier.partition(";")
        return display if separator and display else UNKNOWN_DISPLAY

    @classmethod
    def from_payload(cls, payload: SubscribePayload) -> "Subscription":
        """The subscription that a message asks for; a snapshot address with an interval wins."""
        if payload.snapshot_url is not None and payload.snapshot_interval is not None:
            source = SourceSpec(payload.snapshot_url, payload.snapshot_interval)
        else:
            source = SourceSpec(payload.rtsp_url or "")
        return cls(
            identifier=payload.subscription_identifier,
            source=source,
            model_id=payload.model_id,
            model_name=payload.model_name,
            model_url=payload.model_url,
            crop=payload.crop,
            legacy=payload.legacy,
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """What a command changed. `connections`: those whose own set of subscriptions is another now."""

    begun: tuple[Subscription, ...] = ()
    changed: tuple[tuple[Subscription, Subscription], ...] = ()
    ended: tuple[Subscription, ...] = ()
    connections: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Held:
    subscription: Subscription
    connection: int | None
    """None while nobody holds it: it is kept warm until `expires`."""
    expires: float = field(default=float("inf"))


class Subscriptions:
    """Every subscription there is, by identifier, and which connection holds it."""

    def __init__(self, max_streams: int, grace_sec: float) -> None:
        self._max_streams = max_streams
        self._grace_sec = grace_sec
        self._held: dict[str, _Held] = {}
        self._sources: Counter[SourceSpec] = Counter()
        self._of_display: dict[str, dict[str, None]] = {}

    def subscribe(self, connection: int, subscription: Subscription) -> Changes:
        """Begin, replace or take over.

        Where all sources are in use, one that is only kept warm gives way. Raises MaxStreamsReached
        or Overloaded, and then changes nothing.
        """
        ended = self._make_room(subscription)
        before = self._remove(subscription.identifier)
        self._add(_Held(subscription, connection))  # at the end: the newest holder of its display
        if before is None:
            return Changes(begun=(subscription,), ended=ended, connections=frozenset({connection}))
        changed = () if before.subscription == subscription else ((before.subscription, subscription),)
        touched = {connection} if before.connection is None else {connection, before.connection}
        if not changed and before.connection == connection:
            touched = set[int]()
        return Changes(changed=changed, ended=ended, connections=frozenset(touched))

    def unsubscribe(self, connection: int, identifier: str) -> Changes:
        """End it. Raises UnknownSubscription where this connection holds none of that name."""
        held = self._held.get(identifier)
        if held is None or held.connection != connection:
            raise UnknownSubscription(f"no subscription {identifier} on this connection")
        self._remove(identifier)
        return Changes(ended=(held.subscription,), connections=frozenset({connection}))

    def disconnect(self, connection: int, now: float) -> Changes:
        """The connection is gone; what it held stays warm for the grace, or ends at once without one."""
        for held in self._held.values():
            if held.connection == connection:
                held.connection = None
                held.expires = now + self._grace_sec
        return self.expire(now)

    def expire(self, now: float) -> Changes:
        """End what nobody took up again in time."""
        over = [held.subscription for held in self._held.values() if held.expires <= now]
        return self._end(over)

    def end_warm(self, identifier: str) -> Changes:
        """End it if nobody holds it, without waiting for the grace; else change nothing."""
        held = self._held.get(identifier)
        return self._end([held.subscription] if held is not None and held.connection is None else [])

    def holder(self, identifier: str) -> int | None:
        """The connection that holds it; None for none."""
        held = self._held.get(identifier)
        return None if held is None else held.connection

    def get(self, identifier: str) -> Subscription | None:
        held = self._held.get(identifier)
        return None if held is None else held.subscription

    def of(self, connection: int) -> list[Subscription]:
        """What a connection holds, in the order of its subscribing."""
        return [held.subscription for held in self._held.values() if held.connection == connection]

    def all(self) -> list[Subscription]:
        """Every subscription, the warm ones too."""
        return [held.subscription for held in self._held.values()]

    def connection_for_display(self, display_id: str) -> int | None:
        """The connection that subscribed that display most recently; where its patches go."""
        for identifier in reversed(self._of_display.get(display_id, {})):
            connection = self._held[identifier].connection
            if connection is not None:
                return connection
        return None

    def _make_room(self, wanted: Subscription) -> tuple[Subscription, ...]:
        before = self._held.get(wanted.identifier)
        if before is None and len(self._held) >= MAX_SUBSCRIPTIONS:
            raise Overloaded(f"there are {MAX_SUBSCRIPTIONS} subscriptions, as many as this worker keeps")
        freed = before is not None and self._sources[before.subscription.source] == 1
        if wanted.source in self._sources or len(self._sources) - freed < self._max_streams:
            return ()
        others = [held for held in self._held.values() if held is not before]
        warm = _warm_source(others)
        if warm is None:
            raise MaxStreamsReached(f"{self._max_streams} sources are open, as many as max_streams allows")
        return self._end([held.subscription for held in others if held.subscription.source == warm]).ended

    def _end(self, over: list[Subscription]) -> Changes:
        for subscription in over:
            self._remove(subscription.identifier)
        return Changes(ended=tuple(over))

    def _add(self, held: _Held) -> None:
        subscription = held.subscription
        self._held[subscription.identifier] = held
        self._sources[subscription.source] += 1
        self._of_display.setdefault(subscription.display_id, {})[subscription.identifier] = None

    def _remove(self, identifier: str) -> _Held | None:
        held = self._held.pop(identifier, None)
        if held is None:
            return None
        source, display = held.subscription.source, held.subscription.display_id
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        del self._of_display[display][identifier]
        if not self._of_display[display]:
            del self._of_display[display]
        return held


def _warm_source(subscriptions: list[_Held]) -> SourceSpec | None:
    """The source that nobody holds whose time is up first."""
    until: dict[SourceSpec, float] = {}
    for held in subscriptions:
        source = held.subscription.source
        until[source] = max(until.get(source, held.expires), held.expires)
    source = min(until, key=until.__getitem__, default=None)
    return None if source is None or until[source] == float("inf") else source
