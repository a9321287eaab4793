"""What a backend was told, held against what reached Redis and PostgreSQL of it."""

import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import redis

from siwatsystem.database import DatabaseManager
from siwatsystem.embedded.servers import EmbeddedServers
from tests.acceptance.archives import repack
from tests.servers import PostgresServer, RedisServer

Moment = tuple[str, int]
"""A session, and the milliseconds since 1970 at which a picture was captured."""

TABLE = "gas_station_1.car_frontal_info"
CHANNEL = "faults"
CARS = Path(__file__).parent.parent.parent / "demo" / "clips" / "morning-rush.mp4"
"""A clip in which there is a car most of the time."""
LOG = f"""
CREATE TABLE IF NOT EXISTS public.written (number bigserial PRIMARY KEY, session_id text, at_ms text);
CREATE OR REPLACE FUNCTION public.note() RETURNS trigger AS $$
BEGIN
    IF NEW.car_model IS NOT NULL THEN
        INSERT INTO public.written (session_id, at_ms) VALUES (NEW.session_id, NEW.car_model);
    END IF;
    RETURN NULL;
END $$ LANGUAGE plpgsql;
CREATE OR REPLACE TRIGGER note AFTER INSERT OR UPDATE OF car_model ON {TABLE}
    FOR EACH ROW EXECUTE FUNCTION public.note();
"""


@dataclass
class Told:
    """Detections that a backend was told with a session."""

    moments: set[Moment] = field(default_factory=set)
    whole: set[Moment] = field(default_factory=set)
    """Those with brand and body type, of which there is a record."""

    @classmethod
    def of(cls, messages: Iterable[dict[str, Any]]) -> "Told":
        told = cls()
        for message in messages:
            told.note(message)
        return told

    def note(self, message: dict[str, Any]) -> None:
        """Remember it if it is a detection of a session."""
        session = message.get("sessionId")
        if session is None or message["type"] != "imageDetection":
            return
        moment = str(session), round(1000 * datetime.fromisoformat(message["timestamp"]).timestamp())
        self.moments.add(moment)
        if {"carBrand", "bodyType"} <= message["data"]["detection"].keys():
            self.whole.add(moment)


def missing(told: Collection[Moment], written: Collection[Moment]) -> list[Moment]:
    """What was told and not written. Both round to milliseconds, each in its own way."""
    found = {(session, at + shift) for session, at in written for shift in (-1, 0, 1)}
    return sorted(set(told) - found)


def out_of_order(written: Sequence[Moment]) -> int:
    """How often an older picture of a session was written after a newer one."""
    newest: dict[str, int] = {}
    count = 0
    for session, at in written:
        count += at < newest.get(session, 0)
        newest[session] = max(at, newest.get(session, 0))
    return count


@dataclass
class Databases:
    """Both servers. PostgreSQL logs each write of a record."""

    redis: RedisServer
    postgresql: PostgresServer

    def pack(self, target: Path, redis_port: int = 0, postgresql_port: int = 0) -> Path:
        """The demo's archive, whose actions go to them (at other ports where a proxy stands before them).
        Without tracking, so that every frame with a car acts; what it writes tells the frame's moment."""

        def change(pipeline: dict[str, Any]) -> None:
            root = pipeline["pipeline"]
            del root["tracking"]
            save, publish = root["actions"]
            save["key"] = "inference:{display_id}:{timestamp_ms}:{session_id}:{filename}"
            publish |= {"channel": CHANNEL, "message": '{"session": "{session_id}", "at": "{timestamp_ms}"}'}
            root["parallelActions"][0]["fields"]["car_model"] = "{timestamp_ms}"
            pipeline["redis"] = {key: value for key, value in self.redis.config.items() if value is not None}
            pipeline["redis"] |= {"port": redis_port or self.redis.config["port"]}
            pipeline["postgresql"] = dict(self.postgresql.config)
            pipeline["postgresql"] |= {"port": postgresql_port or self.postgresql.config["port"]}

        return repack(target, change)

    def rows(self) -> list[str]:
        """The session of each record."""
        return [row[0] for row in self.postgresql.query(f"SELECT session_id FROM {TABLE}")]

    def written(self) -> list[Moment]:
        """Every write of a record's results, in order."""
        rows = self.postgresql.query("SELECT session_id, at_ms FROM public.written ORDER BY number")
        return [(session, int(at)) for session, at in rows]

    def images(self) -> set[Moment]:
        """The pictures that Redis holds, by their keys."""
        with closing(self.redis.client()) as client:
            keys = [key.decode().split(":") for key in client.scan_iter("inference:*", count=1000)]
        return {(session, int(at)) for _, _, at, session, _ in keys}


@contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Both servers with their data below `folder`."""
    with closing(EmbeddedServers(folder)) as both:
        redis_server = RedisServer("redis", both.redis, lambda: both.pids)
        postgresql = PostgresServer("postgresql", both.postgresql, lambda: both.pids)
        assert DatabaseManager(postgresql.config).create_car_frontal_info_table()
        postgresql.query(LOG)
        yield Databases(redis_server, postgresql)


class Listener:
    """Hears what is published while it is connected; connects again whenever Redis is back."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.heard: list[Moment] = []
        self.away: list[tuple[float, float]] = []
        """From when to when (seconds since 1970) it was not connected, and heard nothing."""
        self._ended = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        assert self._connected.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(15)

    def _listen(self) -> None:
        gone = time.time()
        while not self._ended.is_set():
            with (
                suppress(redis.RedisError, OSError),
                closing(self._server.client()) as client,
                closing(client.pubsub(ignore_subscribe_messages=True)) as subscription,
            ):
                subscription.subscribe(CHANNEL)
                self.away.append((gone, time.time()))
                self._connected.set()
                while not self._ended.is_set():
                    message = subscription.get_message(timeout=0.2)
                    gone = time.time()
                    if message is not None:
                        fact = json.loads(message["data"])
                        self.heard.append((str(fact["session"]), int(fact["at"])))
            time.sleep(0.05)
