"""Redis and PostgreSQL that die or hang, a worker killed in the midst of it, a full disk, cut downloads."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import rig
from siwatsystem.embedded.servers import EmbeddedServers
from tests.acceptance.archives import repack, shelf
from tests.cameras import rtsp
from tests.faults.promise import Figure, Length, Promise
from tests.faults.proxy import FaultProxy
from tests.faults.site import DISPLAY, Site, site
from tests.servers import PostgresServer, RedisServer

ROOT = Path(__file__).parent.parent.parent
CARS = ROOT / "demo" / "clips" / "morning-rush.mp4"
ROWS = "SELECT session_id, car_brand, car_body_type FROM gas_station_1.car_frontal_info ORDER BY session_id"


@dataclass
class Databases:
    """Both servers, and the archive whose actions go to them."""

    redis: RedisServer
    postgresql: PostgresServer
    archive: Path

    def rows(self) -> list[tuple[Any, ...]]:
        return self.postgresql.query(ROWS)

    def images(self) -> int:
        with closing(self.redis.client()) as client:
            return sum(1 for _ in client.scan_iter("inference:*"))


@contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Both servers with their data below `folder`, and the demo's archive without tracking, so that every
    frame with a car acts."""
    with closing(EmbeddedServers(folder)) as both:
        redis = RedisServer("redis", both.redis, lambda: both.pids)
        postgresql = PostgresServer("postgresql", both.postgresql, lambda: both.pids)

        def change(pipeline: dict[str, Any]) -> None:
            del pipeline["pipeline"]["tracking"]
            pipeline["redis"] = {key: value for key, value in redis.config.items() if value is not None}
            pipeline["postgresql"] = dict(postgresql.config)

        yield Databases(redis, postgresql, repack(folder / "actions.mpta", change))


class Visits:
    """Sessions of a display, one after the other; `seen` are those in which a whole car was told."""

    def __init__(self, here: Site, first: int = 1) -> None:
        self._here = here
        self.seen: set[str] = set()
        self._number = first - 1

    def go_on(self, seconds: float, each: float = 1.0) -> None:
        """Begin a visit every `each` seconds for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._number += 1
            payload = {"displayIdentifier": DISPLAY, "sessionId": self._number}
            self._here.client.send({"type": "setSessionId", "payload": payload})
            for message in self._here.client.collect(each):
                session = message.get("sessionId")
                if session is not None and message["type"] == "imageDetection":
                    whole = {"carBrand", "bodyType"} <= message["data"]["detection"].keys()
                    self.seen |= {str(session)} if whole else set()

    def written(self, there: Databases) -> int:
        """Sessions that were seen and have a row, with brand and body type."""
        whole = {row[0] for row in there.rows() if row[1] and row[2]}
        return len(self.seen & whole)


def depth(here: Site) -> int:
    return int(here.worker.json("/health")["outbox"]["depth"])


def done(here: Site, action: str) -> float:
    """Actions of a kind that were delivered."""
    return here.metric("siwat_actions_total", action=action, outcome="done")


def outage(
    folder: Path,
    length: Length,
    kind: str,
    begin: Callable[[Databases], None],
    end: Callable[[Databases], None],
    away: float,
    resume_sec: float,
) -> Sequence[Figure]:
    """What an outage costs: frames a second meanwhile, records and images afterwards. `kind`: an action
    of the server that is away."""
    with (
        databases(folder) as there,
        rtsp(folder, clip=CARS) as camera,
        site(folder, SIWAT_TARGET_FPS="5") as here,
    ):
        name = here.subscribe("cars", camera.url(), modelUrl=there.archive.as_uri())
        here.told(name, True)
        here.until(lambda: here.analysed(name) > 10, "frames")
        visits = Visits(here)
        visits.go_on(4)
        alone = here.rate(name, length.of(6, 20))
        begin(there)
        began = time.monotonic()
        during = here.rate(name, length.of(6, 20))
        visits.go_on(max(2.0, away - (time.monotonic() - began)))
        waiting, before = depth(here), done(here, kind)
        end(there)
        resumed = here.until(lambda: done(here, kind) > before, "deliveries to go on", 90)
        visits.go_on(2)
        here.client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
        here.client.collect(1)
        here.until(lambda: depth(here) == 0, "the outbox to be empty", 120)
        rows, seen = there.rows(), len(visits.seen)
        lost = seen - visits.written(there)
        failed = here.worker.json("/health")["outbox"]["failed"]
        dropped = sum(here.worker.json("/health")["outbox"]["dropped"].values())
    return [
        Figure("of the rate kept meanwhile", 100 * during / alone, 90, "%", least=True, timed=True),
        Figure("waiting at its end", waiting, 1, least=True),
        Figure("writes go on after", resumed, resume_sec, "s", timed=True),
        Figure("visits seen", seen, 3, least=True),
        Figure("of them lost", lost, 0),
        Figure("rows doubled", len(rows) - len({row[0] for row in rows}), 0),
        Figure("actions failed or dropped", failed + dropped, 0),
    ]


def redis_killed(folder: Path, length: Length) -> Sequence[Figure]:
    return outage(
        folder,
        length,
        "redis_save_image",
        lambda there: there.redis.kill(),
        lambda there: there.redis.start(),
        length.of(8, 30),
        5,
    )


def redis_hung(folder: Path, length: Length) -> Sequence[Figure]:
    return outage(
        folder,
        length,
        "redis_save_image",
        lambda there: there.redis.pause(),
        lambda there: there.redis.resume(),
        length.of(8, 30),
        5,
    )


def postgresql_down(folder: Path, length: Length) -> Sequence[Figure]:
    return outage(
        folder,
        length,
        "postgresql_update_combined",
        lambda there: there.postgresql.kill(),
        lambda there: there.postgresql.start(),
        length.of(8, 70),
        10,
    )


def worker_killed(folder: Path, length: Length) -> Sequence[Figure]:
    """The worker is killed while PostgreSQL is away, and started again."""
    visits_seen: set[str] = set()
    with databases(folder) as there, rtsp(folder, clip=CARS) as camera:
        for round_ in range(length.times(1, 3)):
            there.postgresql.kill()
            with site(folder, SIWAT_TARGET_FPS="5") as here:
                name = here.subscribe("cars", camera.url(), modelUrl=there.archive.as_uri())
                here.told(name, True)
                visits = Visits(here, first=1000 * round_ + 1)
                visits.go_on(length.of(8, 20))
                # What was told in the last moments may not be on the disk yet.
                here.until(lambda here=here: here.worker.json("/health")["outbox"]["pending"] == 0, "disk")
                os.kill(here.process.pid, signal.SIGKILL)
                here.worker.process.child.wait(30)
            there.postgresql.start()
            with site(folder) as here:
                here.until(lambda here=here: depth(here) == 0, "the outbox to be empty", 120)
            visits_seen |= visits.seen
        rows = there.rows()
    whole = {row[0] for row in rows if row[1] and row[2]}
    return [
        Figure("visits seen", len(visits_seen), 1, least=True),
        Figure("of them lost", len(visits_seen - whole), 0),
        Figure("rows doubled", len(rows) - len({row[0] for row in rows}), 0),
    ]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of `size` at `folder`. Needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disk_full(folder: Path, length: Length) -> Sequence[Figure]:
    """The disk of the worker's data has no byte left, then it has."""
    data = folder / "worker"
    with (
        databases(folder / "servers") as there,
        rtsp(folder, clip=CARS) as camera,
        small_disk(data, "24m") as disk,
        site(folder, SIWAT_TARGET_FPS="5", SIWAT_LOGS__FILE="null") as here,
    ):
        name = here.subscribe("cars", camera.url(), modelUrl=there.archive.as_uri())
        here.told(name, True)
        here.until(lambda: here.analysed(name) > 5, "frames")
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as output:
            try:
                while output.write(bytes(65536)):
                    pass
            except OSError:
                pass
        said = here.until(lambda: here.worker.json("/health")["status"] == "degraded", "to be told")
        rate = here.rate(name, length.of(5, 20))
        alive = here.alive
        filler.unlink()
        well = here.until(lambda: here.worker.json("/health")["status"] == "ok", "to be well again")
        half = [path for path in (disk / "models").rglob("*.mpta.*") if path.is_file()]
    return [
        Figure("told after", said, 30, "s", timed=True),
        Figure("frames a second meanwhile", rate, 1, least=True),
        Figure("well again after", well, 30, "s", timed=True),
        Figure("half files", len(half), 0),
        Figure("worker alive", alive, 1, least=True),
    ]


def download_cut(folder: Path, length: Length) -> Sequence[Figure]:
    """A new version of an archive whose download breaks off at 1, 50 and 99 % of it."""
    place = folder / "shelf"
    place.mkdir()
    rig.archive("cars", rig.without_actions, place)
    whole = (place / "cars.mpta").read_bytes()
    kept, installed = 0, 0
    with (
        shelf(place) as archives,
        rtsp(folder, clip=CARS) as camera,
        FaultProxy(archives.port) as proxy,
        site(folder, SIWAT_RECONNECT_INTERVAL_SEC="0.5") as here,
    ):
        name = here.subscribe("cars", camera.url(), modelUrl=f"http://127.0.0.1:{proxy.port}/cars.mpta")
        here.told(name, True)
        models = folder / "worker" / "models" / "7"
        before = sorted(path.name for path in models.iterdir())
        for part in (1, 50, 99):
            (place / f"new-{part}.mpta").write_bytes(whole + bytes(part))
            proxy.faults.truncate_after = len(whole) * part // 100
            analysed, url = here.analysed(name), f"http://127.0.0.1:{proxy.port}/new-{part}.mpta"
            other = here.subscribe(f"new-{part}", camera.url("other"), modelUrl=url)
            here.client.until_error("model_download_failed", timeout=60)
            here.client.collect(2)
            kept += here.analysed(name) > analysed
            installed += sorted(path.name for path in models.iterdir()) != before
            here.client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": other}})
            proxy.none()
    return [
        Figure("times the old pipeline went on", kept, 3, least=True),
        Figure("broken archives installed, or left half", installed, 0),
    ]


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
    Promise(
        "worker-killed",
        "worker killed (`-9`) mid-write",
        "kill during an outage of PostgreSQL",
        "the outbox is replayed, 0 lost, 0 rows doubled",
        worker_killed,
    ),
    Promise(
        "disk-full",
        "disk full",
        "a small tmpfs, filled",
        "stays up, says `degraded`, no partial file is ever visible",
        disk_full,
    ),
    Promise(
        "download-cut",
        "download cut at 1 / 50 / 99 %",
        "proxy",
        "the old pipeline goes on, nothing is installed",
        download_cut,
    ),
)
