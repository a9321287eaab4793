"""Redis and PostgreSQL that die or hang."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from siwatsystem.actions.redis import RedisSink
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import TargetUnavailable
from tests.cameras import rtsp
from tests.faults.promise import Figure, Length, Promise
from tests.faults.records import CARS, Databases, Listener, Told, databases, missing, out_of_order
from tests.faults.site import Site, Visits, site

PUBLISH: Any = SimpleNamespace(kind="redis_publish", payload={"channel": "nobody", "message": "{}"})
"""What a delivery reads of a message's job."""


def outage(
    folder: Path,
    length: Length,
    kind: str,
    begin: Callable[[Databases], None],
    end: Callable[[Databases], None],
    away: float,
    resume_sec: float,
) -> list[Figure]:
    """What an outage costs: frames a second meanwhile, what is written afterwards. `kind`: an action of
    the server that is away."""
    with (
        databases(folder) as there,
        Listener(there.redis) as listener,
        rtsp(folder, clip=CARS) as camera,
        site(folder, SIWAT_TARGET_FPS="5") as here,
    ):
        archive = there.pack(folder / "cars.mpta")
        name = here.subscribe("cars", camera.url(), modelUrl=archive.as_uri())
        here.told(name, True)
        here.until(lambda: here.analysed(name) > 10, "frames")
        visits = Visits(here)
        visits.go_on(4)
        alone = here.rate(name, length.of(4, 20))
        begin(there)
        began = time.monotonic()
        during = here.rate(name, length.of(4, 20))
        visits.go_on(max(2.0, away - (time.monotonic() - began)))
        waiting, before = here.depth(), here.done(kind)
        end(there)
        resumed = here.until(lambda: here.done(kind) > before, "deliveries to go on", 90)
        visits.go_on(2)
        written = delivered(here, name, there, listener)
    return [
        Figure("of the rate kept meanwhile", 100 * during / alone, 90, "%", least=True, timed=True),
        Figure("waiting at its end", waiting, 1, least=True),
        Figure("writes go on after", resumed, resume_sec, "s", timed=True),
        *written,
    ]


def delivered(here: Site, name: str, there: Databases, listener: Listener) -> list[Figure]:
    """End the subscription, let the outbox drain, and hold what the client was told against what arrived."""
    here.client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
    here.client.collect(1)
    here.until(lambda: here.depth() == 0, "the outbox to be empty", 120)
    told, rows = Told.of(here.client.received), there.rows()
    outbox = here.worker.json("/health")["outbox"]
    time.sleep(0.5)  # for what was published last
    return [
        Figure("detections told", len(told.moments), 10, least=True),
        Figure("records lost", len(missing(told.whole, there.written())), 0),
        Figure("out of order", out_of_order(there.written()), 0),
        Figure("rows doubled", len(rows) - len(set(rows)), 0),
        Figure("images lost", len(missing(told.moments, there.images())), 0),
        Figure("messages lost", unheard(told, listener), 0),
        Figure("messages out of order", out_of_order(listener.heard), 0),
        Figure("actions failed or dropped", outbox["failed"] + sum(outbox["dropped"].values()), 0),
    ]


def unheard(told: Told, listener: Listener) -> int:
    """Messages that were not heard. Redis forgets them where nobody listens: those of the time in which
    it was killed, which it took before the listener was back, do not count."""
    lost = missing(told.moments, listener.heard)
    return sum(not any(gone - 2 <= at / 1000 <= back for gone, back in listener.away) for _, at in lost)


def redis_killed(folder: Path, length: Length) -> Sequence[Figure]:
    return outage(
        folder,
        length,
        "redis_save_image",
        lambda there: there.redis.kill(),
        lambda there: there.redis.start(),
        length.of(5, 30),
        5,
    )


def redis_hung(folder: Path, length: Length) -> Sequence[Figure]:
    gave_up: list[float] = []

    def hang(there: Databases) -> None:
        sink = RedisSink(there.redis.config, OutboxSettings())
        sink.deliver(PUBLISH)
        there.redis.pause()
        # On the connection that is open, then on new ones.
        for _ in range(3):
            began = time.monotonic()
            with suppress(TargetUnavailable):
                sink.deliver(PUBLISH)
                raise AssertionError("a stopped Redis took a message")
            gave_up.append(time.monotonic() - began)
            sink.close()

    figures = outage(
        folder,
        length,
        "redis_save_image",
        hang,
        lambda there: there.redis.resume(),
        length.of(5, 30),
        5,
    )
    return [Figure("a command gives up after", max(gave_up), 2, "s", timed=True), *figures]


def postgresql_down(folder: Path, length: Length) -> Sequence[Figure]:
    return outage(
        folder,
        length,
        "postgresql_update_combined",
        lambda there: there.postgresql.kill(),
        lambda there: there.postgresql.start(),
        length.of(5, 70),
        10,
    )


PROMISES = (
    Promise(
        "redis-killed",
        "Redis killed",
        "`kill -9`, started again",
        "inference never waits; writes resume ≤ 5 s; nothing lost",
        redis_killed,
    ),
    Promise(
        "redis-hung",
        "Redis hung",
        "`SIGSTOP`",
        "inference never waits; commands give up ≤ 2 s; writes resume ≤ 5 s; nothing lost",
        redis_hung,
    ),
    Promise(
        "postgresql-down",
        "PostgreSQL down 70 s",
        "killed, started again",
        "first success ≤ 10 s after it is back; 0 accepted rows lost, 0 doubled, order kept per session",
        postgresql_down,
    ),
)
