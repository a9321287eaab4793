"""Who wants what: the subscriptions of all connections, and what a command changes about them.

Pure: no clock, no I/O. The worker applies the returned `Changes` to sources and pipelines.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from siwatsystem.errors import MaxStreamsReached, UnknownSubscription
from siwatsystem.frames import Crop
from siwatsystem.messages import SubscribePayload
from siwatsystem.streams.spec import SourceSpec

UNKNOWN_DISPLAY = "unknown"


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

    def subscribe(self, connection: int, subscription: Subscription) -> Changes:
        """Begin, replace or take over. Raises MaxStreamsReached, and then changes nothing."""
        identifier = subscription.identifier
        self._check_room(subscription)
        before = self._held.pop(identifier, None)  # it goes to the end: the newest holder of its display
        self._held[identifier] = _Held(subscription, connection)
        if before is None:
            return Changes(begun=(subscription,), connections=frozenset({connection}))
        changed = () if before.subscription == subscription else ((before.subscription, subscription),)
        touched = {connection} if before.connection is None else {connection, before.connection}
        if not changed and before.connection == connection:
            touched = set[int]()
        return Changes(changed=changed, connections=frozenset(touched))

    def unsubscribe(self, connection: int, identifier: str) -> Changes:
        """End it. Raises UnknownSubscription where this connection holds none of that name."""
        held = self._held.get(identifier)
        if held is None or held.connection != connection:
            raise UnknownSubscription(f"no subscription {identifier} on this connection")
        del self._held[identifier]
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
        for subscription in over:
            del self._held[subscription.identifier]
        return Changes(ended=tuple(over))

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
        for held in reversed(self._held.values()):
            if held.connection is not None and held.subscription.display_id == display_id:
                return held.connection
        return None

    def _check_room(self, wanted: Subscription) -> None:
        others = _sources(
            held.subscription
            for held in self._held.values()
            if held.subscription.identifier != wanted.identifier
        )
        if wanted.source not in others and len(others) >= self._max_streams:
            raise MaxStreamsReached(f"{self._max_streams} sources are open, as many as max_streams allows")


def _sources(subscriptions: Iterable[Subscription]) -> set[SourceSpec]:
    return {subscription.source for subscription in subscriptions}
