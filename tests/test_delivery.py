from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.config import WebSocketSettings
from siwatsystem.delivery import MAX_REPLIES, Outbound, QueuedDetection
from siwatsystem.messages import ErrorMessage, ImageDetection, PatchSessionResult, StateReport


def outbound(most: int = 3) -> Outbound:
    return Outbound(WebSocketSettings(detections_per_subscription=most), deadline_ms=1000)


def detection(name: str = "d;c", captured_at: float = 0.0, session: int | None = 1) -> QueuedDetection:
    body = {
        "subscriptionIdentifier": name,
        "timestamp": str(captured_at),
        "data": {"detection": {}, "modelId": 1, "modelName": "Cars"},
    }
    return QueuedDetection(ImageDetection.model_validate(body), "d", session, {}, captured_at)


def state(cpu: float) -> StateReport:
    body = {"cpuUsage": cpu, "memoryUsage": 1, "gpuUsage": None, "gpuMemoryUsage": None}
    return StateReport.model_validate({**body, "cameraConnections": []})


def error(text: str = "e") -> ErrorMessage:
    return ErrorMessage(error=text, code="overloaded")


def test_replies_go_first_then_the_newest_state_then_detections():
    queue = outbound()
    queue.put_detection(detection())
    queue.put_state(state(1))
    queue.put_state(state(2))
    queue.put_reply(error())
    sent = [queue.next(0)[0] for _ in range(4)]
    assert sent == [error(), state(2), detection().message, None]
    assert len(queue) == 0


def test_detections_of_subscriptions_take_turns():
    queue = outbound()
    for name in ("a", "a", "a", "b"):
        queue.put_detection(detection(name))
    order = [message.subscription_identifier for _ in range(4) if (message := queue.next(0)[0])]
    assert order == ["a", "b", "a", "a"]


def test_the_oldest_gives_way_and_is_handed_back():
    queue = outbound(most=2)
    assert queue.put_detection(detection(captured_at=1)) == []
    assert queue.put_detection(detection(captured_at=2)) == []
    assert queue.put_detection(detection(captured_at=3)) == [detection(captured_at=1)]


def test_what_is_too_late_is_handed_back_not_sent():
    queue = outbound()
    queue.put_detection(detection(captured_at=0))
    queue.put_detection(detection(captured_at=9.5))
    message, late = queue.next(10)
    assert message == detection(captured_at=9.5).message
    assert late == [detection(captured_at=0)]


def test_after_unsubscribe_nothing_of_it_is_left():
    queue = outbound()
    queue.put_detection(detection("a"))
    queue.put_detection(detection("b"))
    assert queue.forget("a") == [detection("a")]
    assert queue.next(0)[0] == detection("b").message
    assert queue.next(0) == (None, [])


def test_errors_give_way_answers_never_do():
    queue = outbound()
    answer = PatchSessionResult.model_validate({"payload": {"sessionId": 1, "success": True}})
    assert queue.put_reply(error())
    for _ in range(MAX_REPLIES):
        assert queue.put_reply(answer)
    assert len(queue) == MAX_REPLIES
    assert not queue.put_reply(answer)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 20)), max_size=60), st.integers(1, 5))
def test_no_detection_is_lost_without_being_handed_back(items: list[tuple[str, float]], most: int):
    queue = outbound(most)
    back: list[QueuedDetection] = []
    put: list[QueuedDetection] = []
    for name, captured_at in items:
        item = detection(name, captured_at)
        put.append(item)
        back += queue.put_detection(item)
        assert len(queue) <= 3 * most
    sent: list[object] = []
    for now in (5.0, 15.0):
        for _ in range(3):
            message, late = queue.next(now)
            back += late
            sent += [] if message is None else [message]
    back += queue.drain()
    assert len(sent) + len(back) == len(put)
    assert len(queue) == 0
