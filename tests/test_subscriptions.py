import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from siwatsystem.errors import MaxStreamsReached, UnknownSubscription
from siwatsystem.messages import SubscribePayload
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Changes, Subscription, Subscriptions


def subscription(name: str = "d;c", url: str = "rtsp://cam/1", model: int = 1) -> Subscription:
    return Subscription(name, SourceSpec(url), model, "Cars", "http://models/a.mpta")


def payload(**fields: object) -> SubscribePayload:
    base = {"subscriptionIdentifier": "d;c", "modelUrl": "http://m", "modelName": "Cars", "modelId": 1}
    return SubscribePayload.model_validate({**base, **fields})


def test_a_snapshot_address_with_an_interval_wins():
    both = payload(rtspUrl="rtsp://a", snapshotUrl="http://b", snapshotInterval=500)
    assert Subscription.from_payload(both).source == SourceSpec("http://b", 500)
    without = payload(rtspUrl="rtsp://a", snapshotUrl="http://b")
    assert Subscription.from_payload(without).source == SourceSpec("rtsp://a")


@pytest.mark.parametrize(
    ("identifier", "display"),
    [("display-1;cam-2", "display-1"), ("a;b;c", "a"), ("alone", "unknown"), (";cam", "unknown")],
)
def test_the_display_stands_before_the_first_semicolon(identifier: str, display: str):
    assert subscription(identifier).display_id == display


def test_subscribing_twice_the_same_changes_nothing():
    subscriptions = Subscriptions(5, 10)
    assert subscriptions.subscribe(1, subscription()).begun == (subscription(),)
    assert subscriptions.subscribe(1, subscription()) == Changes()


def test_the_same_identifier_again_replaces():
    subscriptions = Subscriptions(5, 10)
    subscriptions.subscribe(1, subscription(model=1))
    changes = subscriptions.subscribe(1, subscription(model=2))
    assert changes.changed == ((subscription(model=1), subscription(model=2)),)
    assert subscriptions.of(1) == [subscription(model=2)]


def test_another_connection_takes_over_and_both_are_told():
    subscriptions = Subscriptions(5, 10)
    subscriptions.subscribe(1, subscription())
    changes = subscriptions.subscribe(2, subscription())
    assert changes == Changes(connections=frozenset({1, 2}))
    assert subscriptions.holder("d;c") == 2
    assert subscriptions.of(1) == []
    with pytest.raises(UnknownSubscription, match="d;c"):
        subscriptions.unsubscribe(1, "d;c")


def test_what_a_lost_connection_held_stays_warm_for_the_grace():
    subscriptions = Subscriptions(5, 10)
    subscriptions.subscribe(1, subscription())
    assert subscriptions.disconnect(1, now=100) == Changes()
    assert subscriptions.holder("d;c") is None
    assert subscriptions.expire(109.9) == Changes()
    assert subscriptions.subscribe(2, subscription()) == Changes(connections=frozenset({2}))
    assert subscriptions.expire(1000) == Changes()
    subscriptions.disconnect(2, now=200)
    assert subscriptions.expire(210).ended == (subscription(),)
    assert subscriptions.all() == []


def test_without_grace_it_ends_at_once():
    subscriptions = Subscriptions(5, 0)
    subscriptions.subscribe(1, subscription())
    assert subscriptions.disconnect(1, now=100).ended == (subscription(),)


def test_max_streams_counts_sources_and_a_replacement_frees_its_own():
    subscriptions = Subscriptions(2, 10)
    subscriptions.subscribe(1, subscription("a;1", "rtsp://1"))
    subscriptions.subscribe(1, subscription("b;1", "rtsp://1"))
    subscriptions.subscribe(1, subscription("c;2", "rtsp://2"))
    with pytest.raises(MaxStreamsReached, match="2 sources"):
        subscriptions.subscribe(1, subscription("d;3", "rtsp://3"))
    assert subscriptions.get("d;3") is None
    subscriptions.subscribe(1, subscription("c;2", "rtsp://3"))
    with pytest.raises(MaxStreamsReached):
        subscriptions.subscribe(1, subscription("a;1", "rtsp://4"))
    assert subscriptions.get("a;1") == subscription("a;1", "rtsp://1")


def test_a_patch_goes_where_the_display_was_subscribed_last():
    subscriptions = Subscriptions(9, 10)
    subscriptions.subscribe(1, subscription("d;1"))
    subscriptions.subscribe(2, subscription("d;2"))
    assert subscriptions.connection_for_display("d") == 2
    subscriptions.subscribe(1, subscription("d;1"))
    assert subscriptions.connection_for_display("d") == 1
    subscriptions.disconnect(1, 0)
    assert subscriptions.connection_for_display("d") == 2
    assert subscriptions.connection_for_display("e") is None


NAMES = st.sampled_from(["a;1", "a;2", "b;1", "c"])
CONNECTIONS = st.integers(1, 3)


class Machine(RuleBasedStateMachine):
    """Any order of commands against the simplest model: what runs is what the changes add up to."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions(max_streams=2, grace_sec=10)
        self.running: dict[str, Subscription] = {}
        self.now = 0.0

    def apply(self, changes: Changes) -> None:
        for ended in changes.ended:
            assert self.running.pop(ended.identifier) == ended
        for old, new in changes.changed:
            assert self.running[old.identifier] == old != new
            self.running[new.identifier] = new
        for begun in changes.begun:
            assert begun.identifier not in self.running
            self.running[begun.identifier] = begun

    @rule(connection=CONNECTIONS, name=NAMES, url=st.sampled_from(["rtsp://1", "rtsp://2", "rtsp://3"]))
    def subscribe(self, connection: int, name: str, url: str) -> None:
        try:
            self.apply(self.subscriptions.subscribe(connection, subscription(name, url)))
        except MaxStreamsReached:
            return
        assert self.subscriptions.holder(name) == connection

    @rule(connection=CONNECTIONS, name=NAMES)
    def unsubscribe(self, connection: int, name: str) -> None:
        held = self.subscriptions.holder(name) == connection
        try:
            self.apply(self.subscriptions.unsubscribe(connection, name))
            assert held
        except UnknownSubscription:
            assert not held

    @rule(connection=CONNECTIONS)
    def disconnect(self, connection: int) -> None:
        self.apply(self.subscriptions.disconnect(connection, self.now))
        assert self.subscriptions.of(connection) == []

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.subscriptions.expire(self.now))

    @invariant()
    def what_is_wanted_is_what_runs(self) -> None:
        wanted = {found.identifier: found for found in self.subscriptions.all()}
        assert wanted == self.running
        assert len({found.source for found in wanted.values()}) <= 2
        held = [name for number in (1, 2, 3) for name in self.subscriptions.of(number)]
        assert len(held) == len({found.identifier for found in held})


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, deadline=None)
