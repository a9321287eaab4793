from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.actions import delivery
from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import redis_target
from siwatsystem.analysis import actions
from siwatsystem.analysis.actions import Actions
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionRefused


class DeadServer:
    """An outbox whose server never answers; its clock is told by who waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def register(self, target: Any) -> str:
        return "key"

    def submit(self, event: OutboxEvent) -> None:
        pass

    def flush(self, event_id: str, timeout: float) -> bool:
        self.waited.append(timeout)
        self.now += min(timeout, 20)
        return False

    def status(self) -> dict[str, Any]:
        return {"degraded": [], "depth": len(self.waited), "failed": 0}


def test_one_deadline_holds_for_all_events(monkeypatch: pytest.MonkeyPatch):
    server = DeadServer()
    monkeypatch.setattr(actions, "time", server)
    kept = Actions(lambda: server)
    kept.register(None)  # pyright: ignore[reportArgumentType]
    for number in range(4):
        kept.submit(OutboxEvent(str(number), []))
    left = kept.settle(30)
    assert server.waited == [30, 10, 0, 0]
    assert left == ["4 actions wait on disk and are done when a server takes them"]


def test_what_was_given_up_in_this_run_is_told_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sink:
        def deliver(self, job: StoredJob) -> None:
            if job.payload["message"] == "bad":
                raise ActionRefused("it answers 400 Bad Request", "400")

        def close(self) -> None: ...
        def cut(self) -> None: ...

    monkeypatch.setattr(delivery, "open_sink", lambda *_, **__: Sink())

    def left_of(*messages: str) -> list[str]:
        with closing(Outbox(OutboxSettings(), tmp_path / "outbox.sqlite")) as outbox:
            kept = Actions(lambda: outbox)
            key = kept.register(redis_target({"host": "127.0.0.1", "port": 2}))
            for message in messages:
                kept.submit(OutboxEvent((Job("redis_publish", key, {"channel": "c", "message": message}),)))
            return kept.settle(30)

    assert left_of("bad", "good")[-1] == "1 action was given up: siwat outbox list --failed"
    assert left_of("good") == [], "what was given up before is not this run's"
    assert left_of("bad", "bad", "good")[-1] == "2 actions were given up: siwat outbox list --failed"


def test_what_waited_before_is_told_when_the_outbox_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def submit() -> None:
        with closing(Outbox(OutboxSettings(), tmp_path / "outbox.sqlite")) as outbox:
            kept = Actions(lambda: outbox)
            key = kept.register(redis_target({"host": "127.0.0.1", "port": 2}))
            kept.submit(OutboxEvent((Job("redis_publish", key, {"channel": "c", "message": "m"}),)))
            kept.settle(0)

    text = "actions that waited on disk before this run are done as well: "
    submit()
    assert text not in caplog.text
    submit()
    assert f"{text}1\n" in caplog.text


def test_what_is_said_to_brokers_and_receivers_is_shown() -> None:
    said = {"message": "m"}
    jobs = (
        Job("mqtt_publish", "mqtt:x", {"topic": "cars", "retain": False, **said}),
        Job("kafka_publish", "kafka:x", {"topic": "cars", "key": "k", **said}),
        Job("webhook", "webhook:x", {"to": "hooks.example:443", **said}),
    )
    assert [actions.describe(job) for job in jobs] == [
        "publish over MQTT to cars: m",
        "publish to the Kafka topic cars: m",
        "post to hooks.example:443: m",
    ]
