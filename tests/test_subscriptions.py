from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from siwatsystem import subscriptions
from siwatsystem.errors import MaxStreamsReached, Overloaded, UnknownSubscription
from siwatsystem.messages import SubscribePayload
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Changes, Subscription, Subscriptions


def wish(identifier: str = "d1;c1", camera: str = "a", **fields: Any) -> Subscription:
    values: dict[str, Any] = {
        "model_id": 1,
        "model_name": "Cars",
        "model_url": "http://m/cars.mpta",
        **fields,
    }
    return Subscription(identifier, SourceSpec(f"rtsp://{camera}/stream"), **values)


def payload(**fields: Any) -> SubscribePayload:
    base = {"subscriptionIdentifier": "d;c", "modelUrl": "http://m", "modelName": "M", "modelId": "m"}
    return SubscribePayload.model_validate({**base, **fields})


def test_a_message_becomes_a_subscription():
    crop = {"cropX1": 1, "cropY1": 2, "cropX2": 3, "cropY2": 4}
    found = Subscription.from_payload(payload(rtspUrl="rtsp://a", **crop))
    assert found == Subscription("d;c", SourceSpec("rtsp://a"), "m", "M", "http://m", (1, 2, 3, 4))


def test_a_snapshot_address_with_an_interval_wins():
    both = payload(rtspUrl="rtsp://a", snapshotUrl="http://a/jpg", snapshotInterval=500)
    assert Subscription.from_payload(both).source == SourceSpec("http://a/jpg", 500)
    without = payload(rtspUrl="rtsp://a", snapshotUrl="http://a/jpg")
    assert Subscription.from_payload(without).source == SourceSpec("rtsp://a")


@pytest.mark.parametrize(
    ("identifier", "display"),
    [("d;c", "d"), ("d;c;e", "d"), ("d;", "d"), ("cam-1", "unknown"), (";c", "unknown")],
)
def test_the_display_stands_before_the_first_semicolon(identifier: str, display: str):
    assert wish(identifier).display_id == display


def test_it_begins_changes_and_ends():
    registry = Subscriptions(5, 30)
    first, second = wish(), wish(camera="b")
    assert registry.subscribe(1, first) == Changes(begun=(first,), connections=frozenset({1}))
    assert registry.subscribe(1, second) == Changes(changed=((first, second),), connections=frozenset({1}))
    assert registry.get("d1;c1") == second
    assert registry.unsubscribe(1, "d1;c1") == Changes(ended=(second,), connections=frozenset({1}))
    assert registry.all() == []


def test_the_same_again_changes_nothing():
    registry = Subscriptions(5, 30)
    registry.subscribe(1, wish())
    assert registry.subscribe(1, wish()) == Changes()


def test_another_connection_takes_over_without_a_restart():
    registry = Subscriptions(5, 30)
    registry.subscribe(1, wish())
    assert registry.subscribe(2, wish()) == Changes(connections=frozenset({1, 2}))
    assert registry.holder("d1;c1") == 2
    with pytest.raises(UnknownSubscription, match="d1;c1"):
        registry.unsubscribe(1, "d1;c1")
    assert registry.disconnect(1, 0) == Changes()
    assert registry.expire(1000) == Changes()


def test_what_nobody_holds_can_be_ended_by_nobody():
    registry = Subscriptions(5, 30)
    with pytest.raises(UnknownSubscription):
        registry.unsubscribe(1, "d1;c1")
    registry.subscribe(1, wish())
    registry.disconnect(1, 0)
    with pytest.raises(UnknownSubscription):
        registry.unsubscribe(2, "d1;c1")


def test_what_nobody_holds_can_be_ended_before_its_grace_is_over():
    held = Subscriptions(10, 30.0)
    held.subscribe(1, wish())
    assert held.end_warm("d1;c1") == held.end_warm("no;such") == Changes()
    held.disconnect(1, 0.0)
    assert held.end_warm("d1;c1") == Changes(ended=(wish(),))
    assert held.all() == []


def test_the_grace_keeps_it_warm_and_then_it_ends():
    registry = Subscriptions(5, 30)
    registry.subscribe(1, wish())
    assert registry.disconnect(1, 100) == Changes()
    assert registry.holder("d1;c1") is None
    assert registry.all() == [wish()]
    assert registry.expire(129.9) == Changes()
    assert registry.expire(130) == Changes(ended=(wish(),))


def test_who_comes_back_within_the_grace_finds_it_warm():
    registry = Subscriptions(5, 30)
    registry.subscribe(1, wish())
    registry.disconnect(1, 100)
    assert registry.subscribe(2, wish()) == Changes(connections=frozenset({2}))
    assert registry.expire(1000) == Changes()


def test_without_grace_it_ends_at_once():
    registry = Subscriptions(5, 0)
    registry.subscribe(1, wish())
    assert registry.disconnect(1, 100) == Changes(ended=(wish(),))


def test_sources_are_counted_not_subscriptions():
    registry = Subscriptions(1, 30)
    registry.subscribe(1, wish("d1;c1"))
    registry.subscribe(1, wish("d2;c1"))
    with pytest.raises(MaxStreamsReached, match="1 sources"):
        registry.subscribe(1, wish("d3;c2", camera="b"))
    with pytest.raises(MaxStreamsReached):
        registry.subscribe(1, wish("d1;c1", camera="b"))
    assert registry.get("d1;c1") == wish("d1;c1")
    registry.unsubscribe(1, "d2;c1")
    registry.subscribe(1, wish("d1;c1", camera="b"))


def test_a_warm_source_gives_way_to_one_that_is_wanted():
    registry = Subscriptions(2, 30)
    registry.subscribe(1, wish("d1;c1", camera="a"))
    registry.subscribe(2, wish("d2;c2", camera="b"))
    registry.disconnect(2, 0)
    registry.disconnect(1, 5)
    wanted = wish("d3;c3", camera="c")
    changes = registry.subscribe(3, wanted)
    assert changes == Changes(begun=(wanted,), ended=(wish("d2;c2", camera="b"),), connections=frozenset({3}))
    assert registry.subscribe(3, wish("d1;c1", camera="d")).changed
    with pytest.raises(MaxStreamsReached):
        registry.subscribe(3, wish("d4;c4", camera="e"))


def test_a_warm_source_gives_way_even_to_a_replacement_that_used_it():
    registry = Subscriptions(2, 30)
    registry.subscribe(1, wish("d2;c1", camera="a"))
    registry.disconnect(1, 0)
    registry.subscribe(1, wish("d1;c2", camera="a"))
    registry.subscribe(1, wish("d1;c1", camera="b"))
    changes = registry.subscribe(1, wish("d1;c2", camera="c"))
    assert changes.ended == (wish("d2;c1", camera="a"),)
    assert changes.changed == ((wish("d1;c2", camera="a"), wish("d1;c2", camera="c")),)


def test_a_source_that_somebody_holds_does_not_give_way():
    registry = Subscriptions(1, 30)
    registry.subscribe(1, wish("d1;c1"))
    registry.subscribe(2, wish("d2;c1"))
    registry.disconnect(1, 0)
    with pytest.raises(MaxStreamsReached):
        registry.subscribe(2, wish("d3;c2", camera="b"))
    assert len(registry.all()) == 2


def test_there_is_an_end_to_subscriptions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 2)
    registry = Subscriptions(5, 30)
    registry.subscribe(1, wish("d1;c"))
    registry.subscribe(1, wish("d2;c"))
    with pytest.raises(Overloaded):
        registry.subscribe(1, wish("d3;c"))
    registry.subscribe(1, wish("d2;c", model_id=2))


def test_a_display_s_patches_go_to_its_newest_holder():
    registry = Subscriptions(5, 30)
    registry.subscribe(1, wish("d1;c1"))
    registry.subscribe(2, wish("d1;c2"))
    assert registry.connection_for_display("d1") == 2
    registry.subscribe(1, wish("d1;c1"))
    assert registry.connection_for_display("d1") == 1
    registry.disconnect(1, 0)
    assert registry.connection_for_display("d1") == 2
    registry.disconnect(2, 0)
    assert registry.connection_for_display("d1") is None
    assert registry.connection_for_display("d2") is None


NAMES = st.sampled_from(["d1;c1", "d1;c2", "d2;c1", "cam"])
CONNECTIONS = st.integers(1, 3)
GRACE = 10.0
MOST = 2


class SubscriptionMachine(RuleBasedStateMachine):
    """Against a plain model: what a worker that applies the changes runs, and who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Subscriptions(MOST, GRACE)
        self.now = 0.0
        self.running: dict[str, Subscription] = {}
        self.holders: dict[str, int] = {}
        self.warm: dict[str, float] = {}

    def apply(self, changes: Changes) -> None:
        for ended in changes.ended:
            assert self.running.pop(ended.identifier) == ended
            self.holders.pop(ended.identifier, None)
            self.warm.pop(ended.identifier, None)
        for old, new in changes.changed:
            assert self.running[old.identifier] == old
            assert new != old
            self.running[new.identifier] = new
        for begun in changes.begun:
            assert begun.identifier not in self.running
            self.running[begun.identifier] = begun

    @rule(connection=CONNECTIONS, name=NAMES, camera=st.sampled_from("abc"), model=st.integers(1, 2))
    def subscribe(self, connection: int, name: str, camera: str, model: int) -> None:
        wanted = wish(name, camera, model_id=model)
        before, taken = dict(self.running), dict(self.warm)
        previous = self.holders.get(name)
        try:
            changes = self.registry.subscribe(connection, wanted)
        except MaxStreamsReached:
            held = {one.source for key, one in before.items() if key in self.holders and key != name}
            assert len(held) >= MOST
            assert wanted.source not in held
            assert {one.identifier: one for one in self.registry.all()} == before
            return
        assert {one.identifier for one in changes.ended} <= taken.keys() - {name}
        self.apply(changes)
        self.holders[name] = connection
        self.warm.pop(name, None)
        assert self.running[name] == wanted
        moved = previous != connection or before.get(name) != wanted
        assert (connection in changes.connections) is moved
        assert (previous in changes.connections) is (previous is not None and moved)

    @rule(connection=CONNECTIONS, name=NAMES)
    def unsubscribe(self, connection: int, name: str) -> None:
        if self.holders.get(name) != connection:
            with pytest.raises(UnknownSubscription):
                self.registry.unsubscribe(connection, name)
            return
        changes = self.registry.unsubscribe(connection, name)
        assert [one.identifier for one in changes.ended] == [name]
        self.apply(changes)

    @rule(connection=CONNECTIONS)
    def disconnect(self, connection: int) -> None:
        for name in [name for name, holder in self.holders.items() if holder == connection]:
            del self.holders[name]
            self.warm[name] = self.now + GRACE
        self.apply(self.registry.disconnect(connection, self.now))

    @rule(seconds=st.floats(0, 2 * GRACE))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        over = {name for name, until in self.warm.items() if until <= self.now}
        changes = self.registry.expire(self.now)
        assert {one.identifier for one in changes.ended} == over
        self.apply(changes)

    @precondition(lambda self: self.running)
    @rule(connection=CONNECTIONS)
    def repeat(self, connection: int) -> None:
        for subscription in self.registry.of(connection):
            assert self.registry.subscribe(connection, subscription) == Changes()

    @invariant()
    def agrees(self) -> None:
        assert {one.identifier: one for one in self.registry.all()} == self.running
        assert {name: self.registry.holder(name) for name in self.running} == {
            name: self.holders.get(name) for name in self.running
        }
        assert len({one.source for one in self.running.values()}) <= MOST
        for connection in (1, 2, 3):
            mine = {name for name, holder in self.holders.items() if holder == connection}
            assert {one.identifier for one in self.registry.of(connection)} == mine
        for display in ("d1", "d2", "unknown"):
            holders = {
                self.holders[name]
                for name, one in self.running.items()
                if one.display_id == display and name in self.holders
            }
            found = self.registry.connection_for_display(display)
            assert found in holders if holders else found is None


TestSubscriptionMachine = SubscriptionMachine.TestCase
TestSubscriptionMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
