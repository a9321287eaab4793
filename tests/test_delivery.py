from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.config import WebSocketSettings
from siwatsystem.delivery import MAX_REPLIES, Outbound, QueuedDetection
from siwatsystem.messages import (
    ErrorMessage,
    ImageDetection,
    PatchSessionOut,
    PatchSessionResult,
    StateReport,
    encode,
)
from siwatsystem.metrics import ERRORS_UNSENT

NOW = 1_000_000.0


def outbound(**settings: int) -> Outbound:
    return Outbound(WebSocketSettings.model_validate(settings), 2000)


def detection(
    identifier: str = "d1;c1", at: float = NOW, session: int | None = 5, size: int = 0
) -> QueuedDetection:
    message = ImageDetection.model_validate(
        {
            "subscriptionIdentifier": identifier,
            "timestamp": "2025-07-14T12:34:56.789Z",
            "data": {"detection": {"carBrand": "x" * size}, "modelId": 1, "modelName": "M"},
        }
    )
    return QueuedDetection(message, identifier.split(";")[0], session, {"carBrand": "Honda"}, at)


def state(cpu: float = 1) -> StateReport:
    return StateReport.model_validate(
        {"cpuUsage": cpu, "memoryUsage": 1, "gpuUsage": None, "gpuMemoryUsage": None, "cameraConnections": []}
    )


def error(text: str = "no") -> ErrorMessage:
    return ErrorMessage.model_validate({"error": text, "code": "invalid_message"})


def result(text: str = "merged") -> PatchSessionResult:
    payload = {"sessionId": 5, "success": True, "message": text}
    return PatchSessionResult.model_validate({"payload": payload})


def patch() -> PatchSessionOut:
    return PatchSessionOut.model_validate({"sessionId": 5, "data": {"currentCar": {"carBrand": "Honda"}}})


def sent(queue: Outbound, now: float = NOW) -> list[Any]:
    messages: list[Any] = []
    while (message := queue.next(now)[0]) is not None:
        messages.append(message)
    return messages


def unsent_errors() -> float:
    return ERRORS_UNSENT._value.get()


def test_nothing_waits_at_first():
    queue = outbound()
    assert len(queue) == 0
    assert queue.next(NOW) == (None, [])
    assert queue.drain() == []


def test_answers_go_first_then_the_state_then_detections():
    queue = outbound()
    item = detection()
    queue.put_detection(item)
    queue.put_state(state())
    queue.put_reply(error())
    queue.put_reply(result())
    assert len(queue) == 4
    assert sent(queue) == [error(), result(), state(), item.message]
    assert len(queue) == 0
    assert queue.waiting_bytes == 0


def test_only_the_newest_state_is_sent():
    queue = outbound()
    for cpu in range(50):
        queue.put_state(state(cpu))
    assert sent(queue) == [state(49)]


def test_subscriptions_take_turns_and_the_oldest_of_each_goes_first():
    queue = outbound()
    items = {name: [detection(name, NOW + n / 10) for n in range(3)] for name in ("a;1", "b;1", "c;1")}
    for group in items.values():
        for item in group:
            assert queue.put_detection(item) == []
    assert sent(queue) == [items[name][turn].message for turn in range(3) for name in ("a;1", "b;1", "c;1")]


def test_one_busy_subscription_does_not_hold_up_another():
    queue = outbound()
    for n in range(10):
        queue.put_detection(detection("busy;1", NOW + n))
    queue.next(NOW)
    queue.put_detection(detection("quiet;1"))
    turns = [message.subscription_identifier for message in sent(queue)]
    assert "quiet;1" in turns[:2]


def test_of_a_subscription_the_oldest_overflow():
    queue = outbound(detections_per_subscription=2)
    items = [detection(at=NOW + n) for n in range(5)]
    overflow = [item for queued in items for item in queue.put_detection(queued)]
    assert overflow == items[:3]
    assert queue.put_detection(detection("d2;c")) == []
    assert len(queue) == 3


def test_what_is_too_late_at_its_turn_is_handed_back():
    queue = outbound()
    late, timely = detection(at=NOW - 2.1), detection(at=NOW - 1.9)
    queue.put_detection(late)
    queue.put_detection(timely)
    assert queue.next(NOW) == (timely.message, [late])
    queue.put_detection(late)
    assert queue.next(NOW) == (None, [late])
    assert len(queue) == 0


def test_nothing_more_is_sent_of_what_was_forgotten():
    queue = outbound()
    items = [detection(at=NOW + n) for n in range(3)]
    other = detection("d2;c2")
    for item in (*items, other):
        queue.put_detection(item)
    assert queue.forget("d1;c1") == items
    assert queue.forget("d1;c1") == []
    assert sent(queue) == [other.message]
    assert queue.waiting_bytes == 0


def test_errors_give_way_to_newer_answers_oldest_first():
    queue, before = outbound(), unsent_errors()
    queue.put_reply(result("first"))
    for n in range(MAX_REPLIES + 10):
        assert queue.put_reply(error(str(n)))
    replies = sent(queue)
    assert replies[0] == result("first")
    assert replies[1:] == [error(str(n)) for n in range(11, MAX_REPLIES + 10)]
    assert unsent_errors() - before == 11


def test_an_answer_that_must_not_be_lost_is_never_dropped_silently():
    queue = Outbound(WebSocketSettings(queue_kb=256), 1000)
    replies = [result(str(n)) if n % 2 else patch() for n in range(MAX_REPLIES)]
    assert all(queue.put_reply(reply) for reply in replies)
    assert not queue.put_reply(result("one too many"))
    assert not queue.put_reply(error())
    assert sent(queue) == replies


def test_answers_are_bounded_in_bytes_too():
    queue = outbound(queue_kb=16)
    assert queue.put_reply(result("x" * 10_000))
    assert not queue.put_reply(result("x" * 10_000))
    assert queue.put_reply(error("x" * 4000))
    assert queue.put_reply(error("x" * 5000))
    assert sent(queue) == [result("x" * 10_000), error("x" * 5000)]
    assert queue.put_reply(result("x" * 50_000))


def test_detections_are_bounded_in_bytes_and_the_longest_queue_gives_way():
    queue = outbound(queue_kb=16)
    many = [detection("many;1", NOW + n, size=2000) for n in range(5)]
    few = [detection(f"few-{n};1", size=2000) for n in range(4)]
    overflow = [item for queued in (*many, *few) for item in queue.put_detection(queued)]
    assert overflow == many[: len(overflow)]
    assert len(overflow) >= 2
    assert queue.waiting_bytes <= 16 * 1024


def test_what_never_was_sent_is_handed_back_at_the_end():
    queue = outbound()
    items = [detection("a;1"), detection("b;1"), detection("a;1")]
    for item in items:
        queue.put_detection(item)
    queue.put_state(state())
    queue.put_reply(error())
    assert sorted(map(id, queue.drain())) == sorted(map(id, items))
    assert len(queue) == 0
    assert queue.waiting_bytes == 0
    assert queue.next(NOW) == (None, [])


STEPS = st.one_of(
    st.tuples(st.just("detection"), st.sampled_from("abcdef"), st.integers(0, 3000)),
    st.tuples(st.just("error"), st.integers(0, 3000), st.none()),
    st.tuples(st.just("result"), st.integers(0, 3000), st.none()),
    st.tuples(st.just("next"), st.floats(0, 3), st.none()),
    st.tuples(st.just("forget"), st.sampled_from("abcdef"), st.none()),
)


@given(st.lists(STEPS, max_size=120))
def test_nothing_gets_lost_and_nothing_grows(steps: list[tuple[Any, Any, Any]]):
    queue, now = outbound(queue_kb=16, detections_per_subscription=4), NOW
    put: list[QueuedDetection] = []
    gone: list[int] = []
    for kind, what, size in steps:
        if kind == "detection":
            item = detection(f"{what};1", now, size=size)
            put.append(item)
            gone += [id(one) for one in queue.put_detection(item)]
        elif kind in ("error", "result"):
            queue.put_reply((error if kind == "error" else result)("x" * what))
        elif kind == "forget":
            gone += [id(one) for one in queue.forget(f"{what};1")]
        else:
            now += what
            message, late = queue.next(now)
            gone += [id(one) for one in late]
            assert all(now - one.captured_at > 2 for one in late)
            if isinstance(message, ImageDetection):
                (item,) = [one for one in put if one.message is message]
                assert now - item.captured_at <= 2
                gone.append(id(item))
        assert queue.waiting_bytes <= 2 * 16 * 1024
        assert len(queue) <= MAX_REPLIES + 6 * 4
    gone += [id(one) for one in queue.drain()]
    assert sorted(gone) == sorted(map(id, put))


def test_bytes_are_those_on_the_wire():
    queue = outbound()
    item = detection("é;1")
    queue.put_detection(item)
    queue.put_reply(error("é"))
    assert queue.waiting_bytes == len(encode(item.message).encode()) + len(encode(error("é")).encode())
