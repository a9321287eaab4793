"""A real worker on a real camera acts once per car instead of once per frame."""

import json
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.archives import DEMO, Shelf, repack
from tests.acceptance.client import Message
from tests.acceptance.conftest import CLIPS, Station
from tests.acceptance.worker import worker
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers, until

__all__ = ["postgresql_server", "redis_server", "servers"]

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400)]
NAME = "display-1;pump"
CARS = 4
"""More than the clip has in one round, so that it is seen to begin again."""


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

    def another_car(message: Message) -> bool:
        if message["type"] == "imageDetection":
            detection = message["data"]["detection"]
            told[detection["trackId"]].append(detection)
        return len(told) > CARS

    with (
        worker(tmp_path / "worker", SIWAT_REALTIME_DEADLINE_MS="60000") as running,
        running.client() as client,
        closing(redis_server.client()) as redis,
    ):
        channel = redis.pubsub()
        channel.subscribe("car_detections")
        client.subscribe(NAME, rtspUrl=station.camera(1), modelUrl=archives.url("tracked.mpta"))
        client.until_online(NAME, timeout=120)
        client.until(another_car, f"{CARS} cars and the next one", timeout=180)
        client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": NAME}})
        client.collect(2)
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
    assert sum(row not in cars_of_clip(1) for row in rows) <= 1  # the last one was seen too shortly to vote
    for number in sorted(ids)[1:-1]:
        last = told[number][-1]
        assert (last["carBrand"], last["bodyType"]) in cars_of_clip(1)
        assert last["carBrandSupport"] >= 0.6
