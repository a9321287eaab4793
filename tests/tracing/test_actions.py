"""Actions of a traced frame through a real outbox and Redis, by a later process too."""

import time
from pathlib import Path

from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import redis_target
from siwatsystem.config import OutboxSettings, TracingSettings
from siwatsystem.tracing.opening import open_tracer
from siwatsystem.tracing.tracer import Taken, Tracer
from tests.servers import RedisServer, redis_server, servers, until
from tests.tracing.collector import Collector, collector

__all__ = ["redis_server", "servers"]


def traced(there: Collector) -> Tracer:
    tracer = open_tracer(TracingSettings(endpoint=there.url, sample_ratio=1))
    assert tracer is not None
    return tracer


def submit(outbox: Outbox, tracer: Tracer, *jobs: Job) -> None:
    now = time.time(), time.monotonic()
    frame = tracer.frame(Taken(*now, 1, "cam-1", ["d;c"], "1", "exact", 0))
    outbox.submit(OutboxEvent(jobs, subscription="d;c", span=frame.event(len(jobs))))
    frame.finish()


def message(target: str) -> Job:
    return Job("redis_publish", target, {"channel": "c", "message": "hello"})


def test_an_action_belongs_to_its_frame_though_a_later_process_does_it(
    tmp_path: Path, redis_server: RedisServer
):
    redis_server.pause()
    target = redis_target(dict(redis_server.config))
    with collector() as there:
        tracer = traced(there)
        outbox = Outbox(OutboxSettings(), tmp_path / "outbox.sqlite", tracer=tracer)
        submit(outbox, tracer, message(outbox.register(target)))
        until(lambda: outbox.depth() and not outbox.status()["pending"])
        outbox.close()
        tracer.close(5)
        (root,), (stored,) = there.named("frame"), there.named("outbox")
        assert stored.parent == root.number
        assert stored.attributes["siwat.actions"] == 1
        assert stored.error is None
        assert not there.named("action redis_publish")
        redis_server.resume()
        tracer = traced(there)
        outbox = Outbox(OutboxSettings(), tmp_path / "outbox.sqlite", tracer=tracer)
        until(lambda: not outbox.depth())
        outbox.close()
        tracer.close(5)
        (action,) = there.named("action redis_publish")
    assert [action.trace, action.parent] == [root.trace, root.number]
    assert action.began > stored.ended
    assert action.error is None
    assert action.attributes["siwat.server"] == f"redis at 127.0.0.1:{redis_server.config['port']}"


def test_a_refusal_is_told_and_what_is_dropped_too(tmp_path: Path, redis_server: RedisServer):
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "+ping", "+info")
    config = {**redis_server.config, "username": "reader", "password": "pw"}
    with collector() as there:
        tracer = traced(there)
        outbox = Outbox(OutboxSettings(max_attempts=1), tmp_path / "outbox.sqlite", tracer=tracer)
        submit(outbox, tracer, message(outbox.register(redis_target(config))))
        until(lambda: outbox.status()["failed"] == 1)
        outbox.close()
        submit(outbox, tracer, message("whatever"))
        tracer.close(5)
        (action,) = there.named("action redis_publish")
        assert action.error
        assert "hello" not in repr(there.spans)
        assert sorted(span.error or "" for span in there.named("outbox")) == ["", "dropped"]
