"""Judges a demo run: did every camera see the cars of its clip, and did image and record arrive."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siwatsystem.embedded.postgres import USER as EMBEDDED_USER

LEAST_DETECTIONS = 5
LEAST_RIGHT = 0.8
"""Share of a camera's detections that must name a brand and body type that its clip shows."""

Car = tuple[str, str]


def cars_of(sidecar: Path) -> set[Car]:
    """Brand and body type of every car of a clip."""
    return {(car["brand"], car["body_type"]) for car in json.loads(sidecar.read_text())["cars"]}


@dataclass
class Tally:
    """What was seen, by subscription identifier."""

    truth: Mapping[str, set[Car]]
    seen: dict[str, Counter[Car]] = field(default_factory=dict[str, Counter[Car]])
    errors: list[str] = field(default_factory=list[str])

    def take(self, message: dict[str, Any]) -> None:
        """One message of the worker."""
        if message["type"] == "error" and not message.get("resolved"):
            self.errors.append(f"{message['code']}: {message['error']}")
        if message["type"] != "imageDetection":
            return
        detection = message["data"]["detection"]
        if "carBrand" in detection and "bodyType" in detection:
            counter = self.seen.setdefault(message["subscriptionIdentifier"], Counter())
            counter[detection["carBrand"], detection["bodyType"]] += 1

    def missing(self) -> list[str]:
        """What is not shown yet, one line a camera; empty when all cameras are right."""
        lines: list[str] = []
        for identifier, cars in self.truth.items():
            counter = self.seen.get(identifier, Counter())
            total = counter.total()
            right = sum(count for car, count in counter.items() if car in cars)
            if total < LEAST_DETECTIONS:
                lines.append(f"{identifier}: {total} detections with brand and body type")
            elif right / total < LEAST_RIGHT:
                lines.append(f"{identifier}: {right} of {total} right; saw {dict(counter)}, shown {cars}")
        return lines


def stored_images(data_dir: Path, port: int) -> int:
    """How many whole JPEGs the archive has put into the worker's embedded Redis."""
    from redis import Redis

    password = (data_dir / "embedded" / "redis.password").read_text()
    with Redis(port=port, password=password, socket_timeout=3) as client:
        images: list[bytes | None] = [client.get(key) for key in client.scan_iter("inference:*")]  # type: ignore[misc]
    return sum(
        image is not None and image[:2] == b"\xff\xd8" and image[-2:] == b"\xff\xd9" for image in images
    )


def finished_records(data_dir: Path, port: int) -> list[tuple[str, str, str]]:
    """Session, brand and body type of every record that both classifications have reached."""
    import psycopg2

    password = (data_dir / "embedded" / "postgresql.password").read_text()
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=port,
        dbname="postgres",
        user=EMBEDDED_USER,
        password=password,
        connect_timeout=3,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT session_id, car_brand, car_body_type FROM gas_station_1.car_frontal_info"
                " WHERE car_brand IS NOT NULL AND car_body_type IS NOT NULL"
            )
            return cursor.fetchall()
    finally:
        connection.close()
