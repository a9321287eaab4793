import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from siwatsystem.config import WebSocketSettings
from siwatsystem.delivery import Outbound, QueuedDetection
from siwatsystem.messages import ImageDetection, PatchSessionOut, encode
from siwatsystem.metrics import PATCHES
from siwatsystem.patches import ANSWER_SEC, MAX_UNDER_WAY, Patches

HOLDERS = {"d1": 1, "d2": 2}


def cars(due: list[tuple[int, PatchSessionOut]]) -> list[tuple[int, Any, Mapping[str, Any]]]:
    found = [(number, json.loads(encode(message))) for number, message in due]
    return [(number, body["sessionId"], body["data"]["currentCar"]) for number, body in found]


def counted(outcome: str) -> float:
    return PATCHES.labels(outcome)._value.get()


def test_what_was_late_goes_to_the_connection_of_its_display():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "Honda", "bodyType": "Sedan"}, 10, 0)
    patches.late("d3", 6, {"carBrand": "Ford"}, 10, 0)
    assert cars(patches.due(HOLDERS.get, 0)) == [(1, 5, {"carBrand": "Honda", "bodyType": "Sedan"})]
    assert patches.due(HOLDERS.get, 1) == []
    assert cars(patches.due({"d3": 7}.get, 2)) == [(7, 6, {"carBrand": "Ford"})]


def test_only_what_the_backend_s_car_has_counts():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrandConfidence": 0.9, "class": "Car", "trackId": 5}, 10, 0)
    patches.late("d1", 5, {"carBrand": None}, 10, 0)
    assert len(patches) == 0
    patches.late("d1", 5, {"carBrand": "Honda", "colour": "red"}, 10, 0)
    assert cars(patches.due(HOLDERS.get, 0)) == [(1, 5, {"carBrand": "Honda"})]


def test_the_newest_values_of_a_session_become_one_message():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "new"}, 20, 0)
    patches.late("d1", 5, {"carBrand": "old", "bodyType": "SUV"}, 10, 1)
    patches.late("d1", 5, {"licensePlateText": "AB 1"}, 15, 2)
    assert cars(patches.due(HOLDERS.get, 3)) == [
        (1, 5, {"carBrand": "new", "bodyType": "SUV", "licensePlateText": "AB 1"})
    ]


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ("2020", 2020),
        (2020, 2020),
        ("2020.0", 2020),
        (2020.0, 2020),
        ("new", None),
        ("nan", None),
        ("9" * 99, None),
    ],
)
def test_the_year_is_a_number(seen: object, told: int | None):
    patches = Patches(3600)
    patches.late("d1", 5, {"carYear": seen, "carBrand": "x"}, 10, 0)
    ((_, _, car),) = cars(patches.due(HOLDERS.get, 0))
    assert car.get("carYear") == told


def test_an_answer_settles_it():
    patches, before = Patches(3600), counted("accepted")
    patches.late("d1", 5, {"carBrand": "Honda"}, 10, 0)
    assert not patches.answered(1, 5, True)
    patches.due(HOLDERS.get, 0)
    assert not patches.answered(2, 5, True)
    assert not patches.answered(1, None, True)
    assert patches.answered(1, "5", True)
    assert not patches.answered(1, 5, True)
    assert len(patches) == 0
    assert counted("accepted") - before == 1


def test_a_refused_patch_is_not_sent_again():
    patches, before = Patches(3600), counted("refused")
    patches.late("d1", 5, {"carBrand": "Honda"}, 10, 0)
    patches.due(HOLDERS.get, 0)
    assert patches.answered(1, 5, False)
    assert patches.due(HOLDERS.get, 100) == []
    assert counted("refused") - before == 1


def test_a_lost_connection_means_it_is_sent_again_under_what_is_newer():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "old", "bodyType": "SUV"}, 10, 0)
    patches.due(HOLDERS.get, 0)
    patches.late("d1", 5, {"carBrand": "new"}, 11, 1)
    patches.late("d1", 5, {"bodyType": "older"}, 9, 1)
    patches.lost(2)
    assert patches.due(HOLDERS.get, 1) == []
    patches.lost(1)
    assert cars(patches.due({"d1": 9}.get, 2)) == [(9, 5, {"carBrand": "new", "bodyType": "SUV"})]


def test_of_the_same_frame_what_came_last_counts_even_after_a_loss():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "first"}, 10, 0)
    patches.due(HOLDERS.get, 0)
    patches.late("d1", 5, {"carBrand": "second"}, 10, 0)
    patches.lost(1)
    assert cars(patches.due(HOLDERS.get, 0)) == [(1, 5, {"carBrand": "second"})]


def test_a_session_waits_for_its_answer():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "Honda"}, 10, 0)
    patches.due(HOLDERS.get, 0)
    patches.late("d1", 5, {"bodyType": "SUV"}, 11, 1)
    assert patches.due(HOLDERS.get, 1) == []
    assert patches.answered(1, 5, True)
    assert cars(patches.due(HOLDERS.get, 2)) == [(1, 5, {"bodyType": "SUV"})]


def test_a_backend_that_never_answers_still_hears_what_is_new():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "Honda"}, 10, 0)
    patches.due(HOLDERS.get, 0)
    assert patches.due(HOLDERS.get, ANSWER_SEC + 1) == []
    patches.late("d1", 5, {"bodyType": "SUV"}, 11, 1)
    assert cars(patches.due(HOLDERS.get, ANSWER_SEC)) == [(1, 5, {"carBrand": "Honda", "bodyType": "SUV"})]


def test_one_answer_does_not_stand_for_two_messages():
    patches = Patches(3600)
    patches.late("d1", 5, {"carBrand": "Honda"}, 10, 0)
    patches.due(HOLDERS.get, 0)
    patches.late("d1", 5, {"bodyType": "SUV"}, 11, 1)
    patches.due(HOLDERS.get, ANSWER_SEC)
    assert patches.answered(1, 5, True)
    patches.lost(1)
    assert cars(patches.due(HOLDERS.get, 20)) == [(1, 5, {"carBrand": "Honda", "bodyType": "SUV"})]
    assert patches.answered(1, 5, True)
    assert len(patches) == 0


def test_a_backend_is_not_sent_everything_at_once():
    patches = Patches(3600)
    for session in range(3 * MAX_UNDER_WAY):
        patches.late("d1", session, {"carBrand": "Honda"}, 10, 0)
    patches.late("d2", "other", {"carBrand": "Ford"}, 10, 0)
    due = patches.due(HOLDERS.get, 0)
    assert [number for number, _ in due].count(1) == MAX_UNDER_WAY
    assert [number for number, _ in due].count(2) == 1
    assert patches.due(HOLDERS.get, 1) == []
    for _, message in due[:10]:
        patches.answered(1, message.session_id, True)
    assert len(patches.due(HOLDERS.get, 2)) == 10


def test_each_value_is_kept_for_so_long():
    patches, before = Patches(100), counted("expired")
    patches.late("d1", 5, {"carBrand": "Honda"}, 10, 0)
    patches.late("d1", 5, {"bodyType": "SUV"}, 11, 60)
    patches.late("d2", 6, {"carBrand": "Ford"}, 11, 0)
    assert patches.expire(99) == 0
    assert patches.expire(100) == 1
    assert cars(patches.due(HOLDERS.get, 159)) == [(1, 5, {"bodyType": "SUV"})]
    assert patches.expire(160) == 1
    assert len(patches) == 0
    assert not patches.answered(1, 5, True)
    assert counted("expired") - before == 2


def test_the_session_that_had_no_news_for_longest_gives_way():
    patches, before = Patches(3600, max_sessions=2), counted("dropped")
    patches.late("d1", 1, {"carBrand": "a"}, 1, 0)
    patches.late("d1", 2, {"carBrand": "b"}, 1, 0)
    patches.late("d1", 1, {"bodyType": "c"}, 1, 0)
    patches.late("d1", 3, {"carBrand": "d"}, 1, 0)
    assert [session for _, session, _ in cars(patches.due(HOLDERS.get, 0))] == [1, 3]
    assert counted("dropped") - before == 1


KEYS = ("carBrand", "bodyType")
KEEP = 1000.0


class DeliveryMachine(RuleBasedStateMachine):
    """Queues, patches and connections as the worker puts them together.

    Values count up, so a newer one of the same session and key is larger: what the backend knows
    (told in real time, or by a patch it acknowledged), together with what still waits, must never
    fall behind what was seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.patches = Patches(KEEP)
        self.open: dict[int, Outbound] = {}
        self.holder: dict[str, int] = {}
        self.under_way: dict[tuple[int, int], list[dict[str, int]]] = {}
        self.count = 0
        self.connections = 0
        self.seen: dict[tuple[int, str], int] = {}
        self.told: dict[tuple[int, str], int] = {}
        self.settings = WebSocketSettings(detections_per_subscription=2, queue_kb=16)

    def late(self, items: list[QueuedDetection]) -> None:
        for item in items:
            assert item.session_id is not None
            self.patches.late(item.display_id, item.session_id, item.attributes, item.captured_at, self.now)

    def tell(self, session: int, values: Mapping[str, int]) -> None:
        for key, value in values.items():
            self.told[session, key] = max(self.told.get((session, key), 0), value)

    @rule(display=st.sampled_from(["d1", "d2"]))
    def connect(self, display: str) -> None:
        self.connections += 1
        self.open[self.connections] = Outbound(self.settings, 2000)
        self.take_over(display, self.connections)

    @precondition(lambda self: self.open)
    @rule(display=st.sampled_from(["d1", "d2"]), which=st.integers(0, 5))
    def move(self, display: str, which: int) -> None:
        self.take_over(display, sorted(self.open)[which % len(self.open)])

    def take_over(self, display: str, number: int) -> None:
        before = self.holder.get(display)
        if before is not None and before != number:
            self.late(self.open[before].forget(f"{display};c"))
        self.holder[display] = number

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 5))
    def disconnect(self, which: int) -> None:
        number = sorted(self.open)[which % len(self.open)]
        self.late(self.open.pop(number).drain())
        self.patches.lost(number)
        self.holder = {display: holder for display, holder in self.holder.items() if holder != number}
        self.under_way = {key: value for key, value in self.under_way.items() if key[0] != number}

    @rule(
        display=st.sampled_from(["d1", "d2"]), session=st.integers(1, 3), keys=st.sets(st.sampled_from(KEYS))
    )
    def detect(self, display: str, session: int, keys: set[str]) -> None:
        self.count += 1
        self.now += 0.01
        attributes = {key: str(self.count) for key in keys}
        body = {
            "subscriptionIdentifier": f"{display};c",
            "timestamp": "t",
            "sessionId": session,
            "data": {"detection": attributes, "modelId": 1, "modelName": "M"},
        }
        item = QueuedDetection(ImageDetection.model_validate(body), display, session, attributes, self.now)
        for key in keys:
            self.seen[session, key] = self.count
        number = self.holder.get(display)
        self.late([item] if number is None else self.open[number].put_detection(item))

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 5))
    def send(self, which: int) -> None:
        """The client reads one message."""
        number = sorted(self.open)[which % len(self.open)]
        message, late = self.open[number].next(self.now)
        self.late(late)
        if isinstance(message, ImageDetection):
            assert message.session_id is not None
            session = int(message.session_id)
            self.tell(session, {key: int(str(value)) for key, value in message.data.detection.items()})
        elif isinstance(message, PatchSessionOut):
            car = message.data.current_car
            told = {"carBrand": car.car_brand, "bodyType": car.body_type}
            values = {key: int(value) for key, value in told.items() if value is not None}
            self.under_way.setdefault((number, int(message.session_id)), []).append(values)

    @rule()
    def flush(self) -> None:
        for number, message in self.patches.due(self.holder.get, self.now):
            assert self.open[number].put_reply(message)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 5))
    def answer(self, which: int) -> None:
        """The backend has read a patch, merged it, and says so."""
        key = sorted(self.under_way)[which % len(self.under_way)]
        values = self.under_way[key].pop(0)
        if not self.under_way[key]:
            del self.under_way[key]
        number, session = key
        self.tell(session, values)
        self.patches.answered(number, session, True)

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.patches) <= 3
        for queue in self.open.values():
            assert len(queue) <= 2 * 2 + 3 * 50

    def teardown(self) -> None:
        """Whatever happened: one patient connection in the end makes the backend know everything."""
        for number in list(self.open):
            self.late(self.open.pop(number).drain())
            self.patches.lost(number)
        self.holder = {"d1": 0, "d2": 0}
        for _, message in self.patches.due(self.holder.get, self.now):
            car = message.data.current_car
            told = {"carBrand": car.car_brand, "bodyType": car.body_type}
            self.tell(int(message.session_id), {key: int(value) for key, value in told.items() if value})
            assert self.patches.answered(0, message.session_id, True)
        assert len(self.patches) == 0
        assert self.told == self.seen


TestDeliveryMachine = DeliveryMachine.TestCase
TestDeliveryMachine.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
