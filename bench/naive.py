"""The worker that a good engineer writes in a day: what the demo archive asks for, by hand.

`predict` of ultralytics on torch for every node, OpenCV for crops and JPEGs, a thread pool for the
branches, and the actions where they come up: Redis and PostgreSQL are written before the next frame
is taken. It runs in a process of its own, because torch's number of threads belongs to the process.
"""

import json
import multiprocessing
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.pictures import demo_frames

TABLE = "naive_cars"


class Feeder:
    """Takes frames one after the other; what it uses, it does not share."""

    def __init__(self, folder: Path, redis_config: dict[str, Any], postgresql: dict[str, Any]) -> None:
        import psycopg2
        import redis
        from ultralytics import YOLO

        self._root = json.loads((folder / "pipeline.json").read_text())["pipeline"]
        nodes = [self._root, *self._root["branches"]]
        self._models = {node["modelId"]: YOLO(str(folder / node["modelFile"])) for node in nodes}
        self._branches = ThreadPoolExecutor(len(self._root["branches"]))
        self._redis = redis.Redis(**redis_config)
        self._database = psycopg2.connect(
            host=postgresql["host"],
            port=postgresql["port"],
            dbname=postgresql["database"],
            user=postgresql["username"],
            password=postgresql["password"],
        )
        self._database.autocommit = True

    def run(self, image: Any) -> int:
        """How many events the frame had: cars whose front is seen."""
        root = self._root
        found = self._models[root["modelId"]].predict(image, conf=root["minConfidence"], verbose=False)[0]
        boxes: dict[str, list[Any]] = {"Car": [], "Frontal": []}
        for corners, number in zip(found.boxes.xyxy.tolist(), found.boxes.cls.tolist(), strict=True):
            boxes[found.names[int(number)]].append([int(edge) for edge in corners])
        fronts = boxes["Frontal"]
        events = 0
        for car in boxes["Car"]:
            front = next((one for one in fronts if _holds_centre(car, one)), None)
            if front is not None:
                fronts.remove(front)
                self._event(image, {"Car": car, "Frontal": front})
                events += 1
        return events

    def _event(self, image: Any, regions: dict[str, Any]) -> None:
        import cv2

        session, stamp = str(uuid.uuid4()), time.strftime("%Y-%m-%dT%H-%M-%S")
        with self._database.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {TABLE} (session_id, display_id, captured_timestamp) VALUES (%s, %s, %s)",
                (session, "bench", stamp),
            )
        key = f"inference:bench:{stamp}:{session}:{uuid.uuid4().hex}.jpg"
        encoded = cv2.imencode(".jpg", _part(image, regions["Frontal"]), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        self._redis.set(key, encoded.tobytes(), ex=600)
        message = {"event": "frontal_detected", "display_id": "bench", "session_id": session}
        self._redis.publish("car_detections", json.dumps({**message, "timestamp": stamp, "image_key": key}))
        nodes = self._root["branches"]
        said = list(self._branches.map(lambda node: self._branch(node, image, regions), nodes))
        with self._database.cursor() as cursor:
            cursor.execute(
                f"UPDATE {TABLE} SET car_brand = %s, car_body_type = %s, updated_at = now()"
                " WHERE session_id = %s",
                (*said, session),
            )

    def _branch(self, node: dict[str, Any], image: Any, regions: dict[str, Any]) -> str:
        import cv2

        crop = cv2.resize(_part(image, regions[node["cropClass"]]), tuple(node["resizeTarget"]))
        said = self._models[node["modelId"]].predict(crop, verbose=False)[0]
        return said.names[said.probs.top1]


def _part(image: Any, box: Any) -> Any:
    x1, y1, x2, y2 = box
    return image[max(0, y1) : y2, max(0, x1) : x2]


def _holds_centre(box: Any, part: Any) -> bool:
    x, y = (part[0] + part[2]) / 2, (part[1] + part[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


class Naive:
    """The naive worker in its process: `feeders` threads, each with models of its own."""

    def __init__(
        self,
        folder: Path,
        servers: tuple[dict[str, Any], dict[str, Any]],
        feeders: int,
        threads: int,
        frames: int,
    ) -> None:
        """`folder`: the archive, unpacked. `servers`: how to reach Redis and PostgreSQL. `threads`: of
        torch, for one call. It decodes the demo's first `frames` frames itself."""
        self.feeders, self.threads = feeders, threads
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        arguments = (there, folder, servers, feeders, threads, frames)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        there.close()
        self._here.recv()

    def rate(self, times: int) -> tuple[float, int]:
        """Frames a second and how many events they had, its frames `times` times. Raises EOFError if
        the process has failed."""
        self._here.send(times)
        return self._here.recv()

    def close(self) -> None:
        self._here.close()
        self._process.join(10)
        self._process.kill()


def _serve(
    asked: Connection,
    folder: Path,
    servers: tuple[dict[str, Any], dict[str, Any]],
    feeders: int,
    threads: int,
    count: int,
) -> None:
    os.environ["YOLO_VERBOSE"] = "false"
    import torch

    torch.set_num_threads(threads)
    frames = demo_frames(count)
    mine = [Feeder(folder, *servers) for _ in range(feeders)]
    pool = ThreadPoolExecutor(feeders)
    for feeder in mine:
        for frame in frames[:3]:
            feeder.run(frame)
    asked.send("ready")
    while True:
        try:
            times: int = asked.recv()
        except EOFError:
            return
        asked.send(_rate(pool, mine, frames * times))


def _rate(pool: ThreadPoolExecutor, feeders: Sequence[Feeder], frames: Sequence[Any]) -> tuple[float, int]:
    left = iter(frames)  # threads take turns: `next` of a list's iterator is one step for them

    def feed(feeder: Feeder) -> int:
        return sum(feeder.run(frame) for frame in left)

    began = time.perf_counter()
    events = sum(pool.map(feed, feeders))
    return len(frames) / (time.perf_counter() - began), events


def make_table(config: dict[str, Any]) -> None:
    """The table that it writes, empty."""
    import psycopg2

    connection = psycopg2.connect(
        host=config["host"],
        port=config["port"],
        dbname=config["database"],
        user=config["username"],
        password=config["password"],
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        cursor.execute(
            f"CREATE TABLE {TABLE} (session_id text PRIMARY KEY, display_id text, captured_timestamp text,"
            " car_brand text, car_body_type text, updated_at timestamp)"
        )
    connection.close()
