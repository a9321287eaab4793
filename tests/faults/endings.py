"""A worker that is killed in the midst of it, a full disk, downloads that break off."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import rig
from tests.acceptance.archives import shelf
from tests.cameras import rtsp
from tests.faults.promise import Figure, Length, Promise, Unplayable
from tests.faults.proxy import FaultProxy
from tests.faults.records import CARS, Told, databases, missing, out_of_order
from tests.faults.site import Visits, site


def worker_killed(folder: Path, length: Length) -> Sequence[Figure]:
    """The worker is killed while PostgreSQL is away, and while it is there, and started again."""
    told = Told()
    with databases(folder) as there, rtsp(folder, clip=CARS) as camera:
        archive = there.pack(folder / "cars.mpta")
        for round_ in range(length.times(1, 4)):
            if round_ % 2 == 0:
                there.postgresql.kill()
            with site(folder, SIWAT_TARGET_FPS="5") as here:
                name = here.subscribe("cars", camera.url(), modelUrl=archive.as_uri())
                here.told(name, True)
                Visits(here, first=1000 * round_ + 1).go_on(length.of(8, 15))
                # What was told in the last moments may not be on the disk yet.
                here.until(lambda here=here: here.worker.json("/health")["outbox"]["pending"] == 0, "disk")
                os.kill(here.process.pid, signal.SIGKILL)
                here.worker.process.child.wait(30)
                for message in here.client.received:
                    told.note(message)
            there.postgresql.start()
            with site(folder) as here:
                here.until(lambda here=here: here.depth() == 0, "the outbox to be empty", 120)
        rows, written, images = there.rows(), there.written(), there.images()
    return [
        Figure("detections told", len(told.moments), 10, least=True),
        Figure("records lost", len(missing(told.whole, written)), 0),
        Figure("out of order", out_of_order(written), 0),
        Figure("rows doubled", len(rows) - len(set(rows)), 0),
        Figure("images lost", len(missing(told.moments, images)), 0),
    ]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of `size` at `folder`. Raises Unplayable where this user may mount none, even by `sudo`."""
    folder.mkdir(parents=True)
    by = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={size},uid={os.geteuid()},mode=755"
    try:
        subprocess.run([*by, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unplayable(f"a disk of its own cannot be mounted: {error}") from None
    try:
        yield folder
    finally:
        subprocess.run([*by, "umount", "-l", folder], check=True)


def disk_full(folder: Path, length: Length) -> Sequence[Figure]:
    """The disk of the worker's data has no byte left, while another archive is asked for; then it has."""
    place = folder / "shelf"
    place.mkdir()
    rig.archive("new", rig.without_actions, place)
    with (
        databases(folder / "servers") as there,
        shelf(place) as archives,
        rtsp(folder, clip=CARS) as camera,
        small_disk(folder / "worker", "96m") as disk,
        site(folder, SIWAT_TARGET_FPS="5", SIWAT_LOGS__FILE="null") as here,
    ):
        archive = there.pack(folder / "cars.mpta")
        name = here.subscribe("cars", camera.url(), modelUrl=archive.as_uri())
        here.told(name, True)
        here.until(lambda: here.analysed(name) > 5, "frames")
        Visits(here).go_on(2)
        here.until(lambda: here.worker.json("/health")["status"] == "ok", "nothing to be wrong")
        _fill(disk / "filler")
        said = here.until(lambda: here.worker.json("/health")["status"] == "degraded", "to be told")
        new = here.subscribe("new", camera.url("other"), modelUrl=archives.url("new.mpta"), modelId=8)
        here.client.until_error("model_download_failed")
        rate = here.rate(name, length.of(5, 20))
        alive, half = here.alive, visible(disk / "models" / "8")
        (disk / "filler").unlink()
        well = here.until(lambda: here.worker.json("/health")["status"] == "ok", "to be well again")
        here.told(new, True)
    return [
        Figure("told after", said, 30, "s", timed=True),
        Figure("frames a second meanwhile", rate, 1, least=True),
        Figure("well again after", well, 30, "s", timed=True),
        Figure("half files", len(half), 0),
        Figure("worker alive", alive, 1, least=True),
    ]


def _fill(file: Path) -> None:
    """Take all that is left of the disk."""
    with file.open("wb", buffering=0) as output:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while output.write(bytes(size)):
                    pass


def visible(folder: Path) -> list[Path]:
    """What lies where archives are looked for; what is being fetched now has a name with a dot."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


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
        before = visible(models)
        for part in (1, 50, 99):
            (place / f"new-{part}.mpta").write_bytes(whole + bytes(part))
            proxy.faults.truncate_after = len(whole) * part // 100
            analysed, url = here.analysed(name), f"http://127.0.0.1:{proxy.port}/new-{part}.mpta"
            other = here.subscribe(f"new-{part}", camera.url("other"), modelUrl=url)
            here.client.until_error("model_download_failed", timeout=60)
            here.until(lambda before=analysed: here.analysed(name) > before, "the old pipeline to go on")
            kept += 1
            installed += visible(models) != before
            here.client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": other}})
            proxy.none()
    return [
        Figure("times the old pipeline went on", kept, 3, least=True),
        Figure("broken archives installed, or left half", installed, 0),
    ]


PROMISES = (
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
        "a small tmpfs, filled, and another archive asked for",
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
