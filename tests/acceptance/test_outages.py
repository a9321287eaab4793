"""Redis and PostgreSQL killed and started again under the real worker, and the worker itself killed."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.processes import Process
from tests.acceptance.archives import Shelf, repack
from tests.acceptance.backend import Backend
from tests.acceptance.conftest import Station
from tests.acceptance.listening import Message
from tests.acceptance.worker import WorkerProcess, worker
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers, until

__all__ = ["postgresql_server", "redis_server", "servers"]

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400)]
NAME = "display-1;pump"


def archive(shelf: Shelf, redis: RedisServer, postgresql: PostgresServer) -> str:
    def change(pipeline: dict[str, Any]) -> None:
        del pipeline["pipeline"]["tracking"]  # every picture acts: more to lose
        pipeline["redis"] = {key: value for key, value in redis.config.items() if value is not None}
        pipeline["postgresql"] = dict(postgresql.config)

    repack(shelf.folder / "outage.mpta", change)
    return shelf.url("outage.mpta")


def see_visits(backend: Backend, first: int, count: int) -> set[int]:
    """Go through `count` visits of the display; the sessions in which a whole car was seen."""
    seen: set[int] = set()
    for session in range(first, first + count):
        backend.set_session("display-1", session)

        def whole(message: Message, session: int = session) -> bool:
            return (
                message["type"] == "imageDetection"
                and message.get("sessionId") == session
                and {"carBrand", "bodyType"} <= set(message["data"]["detection"])
            )

        backend.until(whole, f"whole car in session {session}", timeout=120)
        seen.add(session)
    return seen


def finished(postgresql: PostgresServer) -> set[int]:
    rows = postgresql.query(
        "SELECT session_id FROM gas_station_1.car_frontal_info"
        " WHERE car_brand IS NOT NULL AND car_body_type IS NOT NULL AND license_type IS NOT NULL"
    )
    # Until the first visit is set, every event is a visit of its own, named by a UUID.
    return {int(session) for (session,) in rows if session.isdigit()}


def images(redis: RedisServer) -> int:
    with closing(redis.client()) as client:
        keys = list(client.scan_iter("inference:*"))
        values = [client.get(key) for key in keys]
    assert all(value[:2] == b"\xff\xd8" and value[-2:] == b"\xff\xd9" for value in values if value)
    return len(values)


def detections(backend: Backend) -> int:
    return sum(message["type"] == "imageDetection" for message in backend.received)


def drained(running: WorkerProcess) -> None:
    until(lambda: running.json("/health")["outbox"]["depth"] == 0, timeout=60, every=0.2)


def test_killed_databases_cost_no_record_and_no_image(
    tmp_path: Path,
    station: Station,
    archives: Shelf,
    redis_server: RedisServer,
    postgresql_server: PostgresServer,
):
    with worker(tmp_path / "worker") as running, running.backend() as backend:
        backend.subscribe(
            NAME, rtsp_url=station.camera(1), model_url=archive(archives, redis_server, postgresql_server)
        )
        backend.until_online(NAME, timeout=120)
        seen = see_visits(backend, 1, 2)
        redis_server.kill()
        postgresql_server.kill()
        seen |= see_visits(backend, 3, 3)
        told = [message for message in backend.received if message["type"] == "error"]
        # PostgreSQL comes first in every visit, so the outage of Redis may not have been met yet.
        assert {"action_failed"} == {message["code"] for message in told}
        assert 1 <= len(told) <= 2
        health = running.json("/health")
        assert health["status"] == "degraded"
        assert health["problems"]
        redis_server.start()
        postgresql_server.start()
        for _ in told:
            backend.until(lambda message: message.get("resolved") is True, "end of an outage")
        seen |= see_visits(backend, 6, 1)
        backend.unsubscribe(NAME)
        backend.collect(2)
        drained(running)
        assert seen <= finished(postgresql_server)
        assert images(redis_server) >= detections(backend) > 6
        assert running.json("/health")["status"] == "ok"


def test_what_a_killed_worker_had_accepted_is_delivered_by_the_next(
    tmp_path: Path,
    station: Station,
    archives: Shelf,
    redis_server: RedisServer,
    postgresql_server: PostgresServer,
):
    model = archive(archives, redis_server, postgresql_server)
    redis_server.kill()
    postgresql_server.kill()
    with worker(tmp_path / "worker") as running, running.backend() as backend:
        backend.subscribe(NAME, rtsp_url=station.camera(1), model_url=model)
        backend.until_online(NAME, timeout=120)
        seen = see_visits(backend, 1, 3)
        told = detections(backend)
        until(lambda: running.json("/health")["outbox"]["depth"] >= 3 * told, timeout=30)
        os.kill(running.process.child.pid, signal.SIGKILL)
        running.process.child.wait()
    redis_server.start()
    postgresql_server.start()
    with worker(tmp_path / "worker") as running:
        drained(running)
        assert seen <= finished(postgresql_server)
        assert images(redis_server) >= told > 2


def test_sigterm_in_the_midst_of_everything_ends_with_status_0(
    tmp_path: Path, station: Station, archives: Shelf
):
    with worker(tmp_path / "worker") as running, running.client() as first, running.client() as second:
        for number, client in enumerate((first, second)):
            for camera in (0, 1):
                name = f"display-{number};{camera}"
                client.subscribe(name, rtspUrl=station.camera(camera), modelUrl=archives.url("demo.mpta"))
        first.until_type("imageDetection", timeout=120)
        first.subscribe(
            "display-9;new", rtspUrl="rtsp://127.0.0.1:1/none", modelUrl="http://127.0.0.1:1/a.mpta"
        )
        process: Process = running.process
        began = time.monotonic()
        process.child.terminate()
        assert first.closed() in (1001, 1006, 1012)
        assert process.child.wait(timeout=60) == 0
        took = time.monotonic() - began
        print(f"ended after {took:.1f} s")
        assert "Traceback" not in process.log.read_text()
        leftover = [
            line for line in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(line)
        ]
        assert leftover == []


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
