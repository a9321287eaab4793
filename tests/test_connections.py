"""What waits for each connection, by value."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from siwatsystem.config import Settings
from siwatsystem.connections import PATCH_DELAY_SEC, Connection, Connections, error_message
from siwatsystem.delivery import QueuedDetection
from siwatsystem.errors import StreamLost, StreamUnauthorized
from siwatsystem.messages import ImageDetection, encode
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Subscription
from siwatsystem.testing import until

WISH = Subscription("d1;c1", SourceSpec("rtsp://a"), 1, "M", "http://m/a")
OLD = 60.0


def detection(session: int | None = 5, brand: str = "Honda", age: float = 0.0) -> QueuedDetection:
    message = ImageDetection.model_validate(
        {
            "subscriptionIdentifier": "d1;c1",
            "timestamp": "2025-07-14T12:34:56.789Z",
            "data": {"detection": {"carBrand": brand}, "modelId": 1, "modelName": "M"},
        }
    )
    return QueuedDetection(message, "d1", session, {"carBrand": brand}, time.time() - age)


class Bench:
    """Connections; `holder` is the number of whoever has display d1."""

    def __init__(self) -> None:
        self.holder: int | None = None
        self.connections = Connections(Settings(), lambda display: self.holder if display == "d1" else None)

    def sent(self, connection: Connection) -> list[dict[str, Any]]:
        import orjson

        messages: list[dict[str, Any]] = []
        while (message := self.connections.next(connection)) is not None:
            messages.append(orjson.loads(encode(message)))
        return messages

    async def patched(self, connection: Connection) -> list[dict[str, Any]]:
        await until(lambda: len(connection.outbound))
        return self.sent(connection)


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await scene(Bench())

    asyncio.run(main())


def patch(**car: Any) -> dict[str, Any]:
    return {"type": "patchSession", "sessionId": 5, "data": {"currentCar": car}}


def test_connections_are_found_by_number_while_they_are_open():
    async def scene(bench: Bench) -> None:
        first, second = bench.connections.open(), bench.connections.open()
        assert first.id != second.id
        assert bench.connections.all() == [first, second]
        assert bench.connections.get(second.id) is second
        bench.connections.closed(first)
        assert bench.connections.get(first.id) is None
        assert bench.connections.get(None) is None
        assert len(bench.connections) == 1

    play(scene)


def test_a_failure_that_lasts_is_told_when_it_begins_and_when_it_ends():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.connections.end(one, WISH, "stream", "fine")
        for _ in range(3):
            bench.connections.tell(one, WISH, "stream", StreamLost("gone"))
        assert one.wake.is_set()
        told = {"type": "error", "error": "gone", "code": "stream_lost", "subscriptionIdentifier": "d1;c1"}
        assert bench.sent(one) == [told]
        bench.connections.end(one, WISH, "model", "of another kind")
        for _ in range(2):
            bench.connections.end(one, WISH, "stream", "back")
        assert bench.sent(one) == [{**told, "error": "back", "resolved": True}]
        bench.connections.tell(one, WISH, "stream", StreamLost("gone"))
        assert bench.sent(one) == [told]

    play(scene)


def test_a_failure_of_another_code_is_told_again_and_ends_under_it():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.connections.tell(one, WISH, "stream", StreamLost("gone"))
        bench.connections.tell(one, WISH, "stream", StreamUnauthorized("401"))
        bench.connections.end(one, WISH, "stream", "back")
        assert [(said["code"], said.get("resolved")) for said in bench.sent(one)] == [
            ("stream_lost", None),
            ("stream_unauthorized", None),
            ("stream_unauthorized", True),
        ]

    play(scene)


def test_what_was_told_is_forgotten_for_that_subscription_only():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        other = Subscription("d2;c2", WISH.source, 1, "M", "http://m/a")
        for wish in (WISH, other):
            bench.connections.tell(one, wish, "stream", StreamLost("gone"))
        bench.sent(one)
        bench.connections.forget_told(one, "d1;c1")
        for wish in (WISH, other):
            bench.connections.tell(one, wish, "stream", StreamLost("gone"))
        assert [said["subscriptionIdentifier"] for said in bench.sent(one)] == ["d1;c1"]

    play(scene)


def test_a_detection_is_sent_in_time_and_becomes_a_patch_when_it_is_late():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.holder = one.id
        bench.connections.detection(one.id, detection())
        assert [said["type"] for said in bench.sent(one)] == ["imageDetection"]
        bench.connections.detection(one.id, detection(brand="Late", age=OLD))
        assert bench.sent(one) == []
        assert await bench.patched(one) == [patch(carBrand="Late")]

    play(scene)


def test_a_burst_of_late_detections_is_one_patch_after_the_delay():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.holder = one.id
        began = time.monotonic()
        for brand, age in (("Oldest", OLD), ("Newest", OLD - 2), ("Older", OLD - 1)):
            bench.connections.detection(None, detection(brand=brand, age=age))
        assert bench.sent(one) == []
        found = await bench.patched(one)
        assert time.monotonic() - began >= PATCH_DELAY_SEC * 0.9
        assert found == [patch(carBrand="Newest")]

    play(scene)


def test_a_detection_without_a_session_is_dropped_when_it_is_late():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.holder = one.id
        bench.connections.detection(None, detection(session=None))
        await asyncio.sleep(2 * PATCH_DELAY_SEC)
        assert bench.sent(one) == []

    play(scene)


def test_what_is_handed_over_becomes_a_patch_where_it_has_a_session():
    async def scene(bench: Bench) -> None:
        one, two = bench.connections.open(), bench.connections.open()
        bench.holder = two.id
        bench.connections.tell(one, WISH, "stream", StreamLost("gone"))
        bench.sent(one)
        bench.connections.detection(one.id, detection(brand="Kia"))
        bench.connections.detection(one.id, detection(brand="Nobody", session=None))
        bench.connections.hand_over(one, "d1;c1")
        assert bench.sent(one) == []
        assert one.told == {}
        assert await bench.patched(two) == [patch(carBrand="Kia")]

    play(scene)


def test_what_is_forgotten_is_never_sent():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.holder = one.id
        bench.connections.tell(one, WISH, "stream", StreamLost("gone"))
        bench.sent(one)
        bench.connections.detection(one.id, detection())
        bench.connections.forget(one, "d1;c1")
        bench.connections.flush_soon()
        await asyncio.sleep(2 * PATCH_DELAY_SEC)
        assert bench.sent(one) == []
        assert one.told == {}

    play(scene)


def test_what_a_lost_connection_was_not_sent_or_did_not_answer_waits_for_the_next():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.holder = one.id
        bench.connections.detection(None, detection(brand="Unanswered", age=OLD))
        assert await bench.patched(one) == [patch(carBrand="Unanswered")]
        bench.holder = None
        bench.connections.closed(one)
        await asyncio.sleep(2 * PATCH_DELAY_SEC)
        two = bench.connections.open()
        bench.holder = two.id
        bench.connections.flush_soon()
        assert await bench.patched(two) == [patch(carBrand="Unanswered")]
        bench.connections.detection(two.id, detection(brand="Unsent"))
        bench.connections.closed(two)
        three = bench.connections.open()
        bench.holder = three.id
        assert await bench.patched(three) == [patch(carBrand="Unsent")]
        assert bench.connections.answered(three, 5, True)
        assert not bench.connections.answered(three, 5, True)

    play(scene)


def test_a_client_that_reads_no_answers_must_go():
    async def scene(bench: Bench) -> None:
        one = bench.connections.open()
        bench.holder = one.id
        for number in range(2000):
            late = detection(session=number + 1, age=OLD)
            bench.connections.detection(None, late)
        bench.connections._flush()
        assert one.close is None  # only so many patches are under way
        big = patch_result("x" * 4096)
        for _ in range(64):
            bench.connections.reply(one, big)
        assert one.close is not None
        assert one.close.code == 1008

    play(scene)


def patch_result(text: str) -> Any:
    from siwatsystem.messages import PatchSessionResult

    payload = {"sessionId": 5, "success": True, "message": text}
    return PatchSessionResult.model_validate({"payload": payload})


def test_a_failure_on_the_wire():
    assert encode(error_message("overloaded", "no")) == '{"type":"error","error":"no","code":"overloaded"}'
    legacy = error_message("overloaded", "no", identifier="c", legacy=True)
    assert (legacy.subscription_identifier, legacy.camera_identifier, legacy.resolved) == ("c", "c", None)
