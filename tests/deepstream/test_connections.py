"""What an app may say on its connection, and what may wait for one that does not read."""

import orjson
import pytest

from siwatsystem.config import WebSocketSettings
from siwatsystem.deepstream import connections
from siwatsystem.deepstream.connections import Connections
from siwatsystem.deepstream.messages import encode
from siwatsystem.deepstream.to_app import QueryMetrics
from siwatsystem.deepstream.to_server import PushAck

ACK = encode(PushAck(stream_id=0, camera_id=1, status="ok"))


def limits(**values: object) -> WebSocketSettings:
    return WebSocketSettings.model_validate(values)


def test_numbers_are_never_used_twice():
    some = Connections(limits())
    first = some.open()
    some.remove(first.number)
    assert some.open().number > first.number


def test_what_waits_is_sent_in_order_and_then_it_ends():
    some = Connections(limits())
    one = some.open()
    for number in range(3):
        some.send(one.number, QueryMetrics(request_id=number))
    some.close(one.number, 1008, "enough")
    some.send(one.number, QueryMetrics(request_id=9))
    some.close(one.number, 1001, "again")
    assert one.over
    assert one.ending == connections.Ending(1008, "enough")
    said = [orjson.loads(text)["request_id"] for text in iter(one.next, None)]
    assert said == [0, 1, 2]


def test_an_app_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "QUEUE_BYTES", 200)
    one = Connections(limits()).open()
    for _ in range(100):
        one.put(QueryMetrics())
    assert one.ending is not None
    assert one.ending.code == 1008
    assert one.next() is None
    assert not one.over  # the state core is still to be told that it is gone


@pytest.mark.parametrize("text", ["{", '{"type": "what"}', b"\x00", '{"type": "push_ack"}', '"x"'])
def test_what_is_wrong_is_passed_over_until_it_is_too_much(text: str | bytes):
    one = Connections(limits(errors_per_sec=1, error_burst=2)).open()
    for number in range(3):
        assert one.read(text, 0.0) is None
        assert (one.ending is not None) is (number == 2)


@pytest.mark.parametrize(
    ("text", "code"), [("[" * 33, 1008), ("[" * 33 + "]" * 33, 1008), ("é" * 600 * 1024, 1009)]
)
def test_what_breaks_a_limit_ends_it(text: str, code: int):
    one = Connections(limits(error_burst=1)).open()
    for _ in range(2):
        one.read(text, 0.0)
    assert one.ending is not None
    assert one.ending.code == code


def test_a_rate_that_is_kept_never_ends_it():
    one = Connections(limits(rate_per_sec=10, burst=2)).open()
    for number in range(1000):
        assert one.read(ACK, number / 10) is not None
    assert one.ending is None


def test_all_are_closed_at_the_end():
    some = Connections(limits())
    many = [some.open() for _ in range(3)]
    some.close_all(1001, "the end")
    assert {one.ending and one.ending.code for one in many} == {1001}
    assert len(some) == 3
    for one in many:
        some.remove(one.number)
    assert len(some) == 0
