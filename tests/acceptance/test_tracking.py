"""A real worker on a real camera acts once per car instead of once per frame."""

import json
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.archives import DEMO, Shelf, repack
from tests.acceptance.conftest import CLIPS, Station
from tests.acceptance.listening import Message
from tests.acceptance.worker import worker
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers, until

__all__ = ["postgresql_server", "redis_server", "servers"]

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400)]
NAME = "display-1;pump"
CARS = 4
"""More than the clip has in one round, so that it is seen to begin again."""
OFTEN = 6
"""Frames; a busy machine sees a car on fewer, and then its votes may be those of a car far away."""


def cars_of_clip(number: int) -> set[tuple[str, str]]:
    truth = json.loads((DEMO.parent / "clips" / f"{CLIPS[number].stem}.json").read_text())
    return {(car["brand"], car["body_type"]) for car in truth["cars"]}


def test_every_car_is_saved_published_and_recorded_once(
    tmp_path: Path,
    station: Station,
    archives: Shelf,
    redis_server: RedisServer,
    postgresql_server: PostgresServer,
):
    def change(pipeline: dict[str, Any]) -> None:
        pipeline["redis"] = {key: value for key, value in redis_server.config.items() if value is not None}
        pipeline["postgresql"] = dict(postgresql_server.config)
        pipeline["pipeline"]["tracking"] = {"stabilityThreshold": 2}

    repack(archives.folder / "tracked.mpta", change)
    told: dict[int, list[dict[str, Any]]] = defaultdict(list)

    def note(messages: list[Message]) -> None:
        for message in messages:
            if message["type"] == "imageDetection" and message["data"]["detection"]:
                detection = message["data"]["detection"]
                told[detection["trackId"]].append(detection)

    def another_car(message: Message) -> bool:
        note([message])
        return len(often()) > CARS

    def often() -> list[int]:
        return sorted(number for number, found in told.items() if len(found) >= OFTEN)

    with (
        worker(tmp_path / "worker", SIWAT_REALTIME_DEADLINE_MS="60000") as running,
        running.backend() as backend,
        closing(redis_server.client()) as redis,
    ):
        channel = redis.pubsub()
        channel.subscribe("car_detections")
        backend.subscribe(NAME, rtsp_url=station.camera(1), model_url=archives.url("tracked.mpta"))
        backend.until_online(NAME, timeout=120)
        note(backend.received)
        backend.until(another_car, f"{CARS} cars and the next one", timeout=180)
        backend.unsubscribe(NAME)
        note(backend.collect(2))
        until(lambda: running.json("/health")["outbox"]["depth"] == 0, timeout=60, every=0.2)
        ids = set(told)
        assert min(ids) == 1
        assert sum(map(len, told.values())) > 3 * len(ids)  # told on every frame
        assert len(list(redis.scan_iter("inference:*"))) == len(ids)
        published: list[str] = []
        while (message := channel.get_message(timeout=1)) is not None:
            published += [message["data"]] if message["type"] == "message" else []
        assert len(published) == len(ids), published
        channel.close()
    rows = postgresql_server.query("SELECT car_brand, car_body_type FROM gas_station_1.car_frontal_info")
    assert len(rows) == len(ids)
    # The last one, and whoever passed an occupied processor, was seen too shortly to vote.
    assert sum(row not in cars_of_clip(1) for row in rows) <= 1 + len(ids - set(often()))
    for number in often()[:-1]:
        last = told[number][-1]
        assert (last["carBrand"], last["bodyType"]) in cars_of_clip(1)
        assert last["carBrandSupport"] >= 0.6
