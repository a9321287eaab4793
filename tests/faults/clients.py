"""Backends that stop reading, flood, come and go, or hang while the worker is told to end."""

import itertools
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.acceptance.archives import DEMO
from tests.acceptance.client import Client
from tests.cameras import rtsp
from tests.faults.promise import Figure, Length, Promise
from tests.faults.records import CARS, Told, databases, missing
from tests.faults.site import Site, Visits, archive, own_mb, site
from tests.faults.stuck import StuckClient

UNKNOWN = {"type": "unsubscribe", "payload": {"subscriptionIdentifier": "nobody;nowhere"}}
DISPLAYS = 40
MORE_ROUNDS = 3
"""Of cycles, where more is held after one of them."""


def answers(client: Client, seconds: float) -> list[float]:
    """How long the worker takes to answer a command, ten times a second; sorted, in milliseconds."""
    out: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        client.send(UNKNOWN)
        client.until_error("unknown_subscription", timeout=30)
        out.append(1000 * (time.monotonic() - began))
        client.collect(0.1)
    return sorted(out)


def p99(values: Sequence[float]) -> float:
    return values[min(len(values) - 1, int(0.99 * len(values)))]


def stops_reading(folder: Path, length: Length) -> Sequence[Figure]:
    """A client with forty displays on a camera reads nothing any more; another one goes on."""
    with rtsp(folder) as camera, site(folder, SIWAT_TARGET_FPS="10") as here:
        here.told(here.subscribe("other", camera.url()), True)
        with StuckClient(here.worker.port) as stuck:
            _subscribe_many(stuck, camera.url())
            seconds = length.of(8, 20)
            reading = threading.Thread(target=stuck.read, args=(seconds + 3,))
            reading.start()
            here.client.collect(3)
            before = answers(here.client, seconds)
            reading.join()
            memory, during = own_mb(here.process), list[float]()
            other = threading.Thread(target=lambda: during.extend(answers(here.client, 8)))
            other.start()
            cut, most = stuck.wait_cut(30)
            other.join()
        grown = own_mb(here.process) - memory
    return [
        Figure("cut after", cut, 6, "s", timed=True),
        Figure("held by the kernel for it", most / 1000, 256, "kB"),
        Figure("p99 of another client's answers grows by", p99(during) - p99(before), 50, "ms", timed=True),
        Figure("memory grows by", grown, 5, "MB"),
    ]


def _subscribe_many(stuck: StuckClient, url: str) -> None:
    for number in range(DISPLAYS):
        payload = {
            "subscriptionIdentifier": f"stuck-{number};cam",
            "rtspUrl": url,
            "modelUrl": archive().as_uri(),
            "modelId": 7,
            "modelName": "Cars",
        }
        stuck.send(json.dumps({"type": "subscribe", "payload": payload}))


@contextmanager
def flooding(url: str, per_sec: int, counted: dict[str, int]) -> Iterator[None]:
    """Bad messages all the time, depth bombs among them; connects again whenever it is closed."""
    ended = threading.Event()
    bomb = '{"type":' * 60 + "1" + "}" * 60

    def flood() -> None:
        while not ended.is_set():
            with suppress(ConnectionClosed, OSError), connect(url, compression=None, max_size=None) as socket:
                reader = threading.Thread(target=_drain, args=(socket, counted), daemon=True)
                reader.start()
                number = 0
                while not ended.is_set():
                    number += 1
                    socket.send(bomb if number % 997 == 0 else "{ this is no JSON")
                    counted["sent"] += 1
                    time.sleep(1 / per_sec)
            counted["closed"] += 1

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _drain(socket: object, counted: dict[str, int]) -> None:
    with suppress(ConnectionClosed, OSError):
        for text in socket:  # type: ignore[attr-defined]
            counted["answered"] += json.loads(text)["type"] == "error"


def floods(folder: Path, length: Length) -> Sequence[Figure]:
    """A client sends a thousand bad messages a second, and comes back when it is closed."""
    counted = {"sent": 0, "closed": 0, "answered": 0}
    with site(folder) as here:
        answers(here.client, 2)
        memory = own_mb(here.process)
        with flooding(f"ws://127.0.0.1:{here.worker.port}/", 1000, counted):
            during = answers(here.client, length.of(10, 60))
        grown = own_mb(here.process) - memory
        alive = here.alive
    return [
        Figure("bad messages sent", counted["sent"], 500, least=True),
        Figure(
            "of them answered with an error",
            100 * counted["answered"] / counted["sent"],
            90,
            "%",
            least=True,
            timed=True,
        ),
        Figure("times closed", counted["closed"], 1, least=True),
        Figure("p99 of another client's answers", p99(during), 250, "ms", timed=True),
        Figure("memory grows by", grown, 20, "MB"),
        Figure("worker alive", alive, 1, least=True),
    ]


def comes_and_goes(folder: Path, length: Length) -> Sequence[Figure]:
    """Displays are subscribed and unsubscribed, on a camera that is there and on one that is not."""
    cycles = length.times(200, 1000)

    numbers = itertools.count()

    def once(here: Site) -> None:
        number = next(numbers)
        name = here.subscribe(f"cycle-{number}", urls[number % 3])
        here.client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})

    def settled(here: Site) -> tuple[float, int, int, int]:
        """After a round of cycles."""
        for _ in range(cycles):
            once(here)
            here.client.collect(0.02)
        here.until(lambda: here.worker.json("/health")["subscriptions"] == 1, "subscriptions to end")
        here.client.collect(8)
        process = here.process
        return own_mb(process), process.num_threads(), process.num_fds(), len(process.children())

    with rtsp(folder) as camera, site(folder) as here:
        here.told(here.subscribe("stays", camera.url()), True)
        urls = (camera.url(), camera.url("other"), "rtsp://127.0.0.1:9/nobody")
        # What is made at first use, threads of every pool among it, is there afterwards.
        for _ in range(60):
            once(here)
            here.client.collect(0.05)
        for _ in range(200):
            once(here)
        rounds = [settled(here), settled(here)]
        if any(new > old for new, old in zip(rounds[1][1:], rounds[0][1:], strict=True)):
            # A pool that begins a thread late, or a camera that is slow to go, adds to one: a leak to each.
            rounds += [settled(here) for _ in range(MORE_ROUNDS)]
    more = len(rounds) - 1
    grown = [(new - old) / more for new, old in zip(rounds[-1], rounds[0], strict=True)]
    return [
        Figure("cycles", cycles, cycles, least=True),
        Figure("memory grows by", grown[0], 10, "MB"),
        Figure("more threads", int(grown[1]), 0),
        Figure("more descriptors", int(grown[2]), 0),
        Figure("more children", int(grown[3]), 0),
    ]


def ends_under_load(folder: Path, length: Length) -> Sequence[Figure]:
    """SIGTERM while cameras are analysed, records wait for a PostgreSQL that is away, the worker's own
    servers run, and a client does not read. What waited is delivered after the next start."""
    ends: list[float] = []
    states: list[int] = []
    orphans, told = 0, Told()
    with databases(folder) as there, rtsp(folder, clip=CARS) as camera:
        archive = there.pack(folder / "cars.mpta")
        for round_ in range(length.times(1, 2)):
            with site(folder, SIWAT_TARGET_FPS="10") as here, ExitStack() as stack:
                name = here.subscribe("busy", camera.url(), modelUrl=archive.as_uri())
                own = here.subscribe("own", camera.url(), modelUrl=DEMO.as_uri(), modelId=8)
                here.all_told((name, own), True)
                here.until(lambda here=here: len(here.process.children()) == 2, "its own servers", 120)
                there.postgresql.kill()
                _subscribe_many(stack.enter_context(StuckClient(here.worker.port)), camera.url())
                Visits(here, first=100 * round_ + 1).go_on(3)
                children = here.process.children(recursive=True)
                began = time.monotonic()
                os.kill(here.process.pid, signal.SIGTERM)
                states.append(here.worker.process.child.wait(60))
                ends.append(time.monotonic() - began)
                orphans += sum(_lives(child) for child in children)
                _note_all(told, here.client, name)
            there.postgresql.start()
            with site(folder) as here:
                here.until(lambda here=here: here.depth() == 0, "the outbox to be empty", 120)
        lost = missing(told.whole, there.written())
    return [
        Figure("gone after", max(ends), 7, "s", timed=True),
        Figure("median", statistics.median(ends), 7, "s", timed=True),
        Figure("status", max(states, key=abs), 0),
        Figure("orphans", orphans, 0),
        Figure("records told", len(told.whole), 3, least=True),
        Figure("of them lost from the outbox", len(lost), 0),
    ]


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _note_all(told: Told, client: Client, identifier: str) -> None:
    """What a client was told of a subscription, up to the end of its connection."""
    with suppress(ConnectionClosed):
        client.collect(5)
    for message in client.received:
        if message.get("subscriptionIdentifier") == identifier:
            told.note(message)


PROMISES = (
    Promise(
        "client-stuck",
        "client stops reading",
        "raw socket, small buffer, forty displays at 10 frames a second",
        "cut ≤ 6 s, ≤ 256 kB held for it; other clients' p99 + ≤ 50 ms; memory flat",
        stops_reading,
    ),
    Promise(
        "client-floods",
        "flood of bad JSON",
        "1,000 messages a second for 60 s, depth bombs",
        "an `error` each, then a close of that client by rate limit; other clients' commands p99 ≤ 250 ms,"
        " memory + ≤ 20 MB",
        floods,
    ),
    Promise(
        "subscriptions-cycle",
        "1,000 subscribe/unsubscribe cycles",
        "on a camera that is there and one that is not",
        "≤ 10 MB, 0 threads, 0 descriptors, 0 children more",
        comes_and_goes,
    ),
    Promise(
        "sigterm-under-load",
        "SIGTERM under load with a stuck client",
        f"signal, while {DISPLAYS} displays are analysed, records wait for PostgreSQL and the worker's own"
        " servers run",
        "gone ≤ 7 s with status 0, outbox intact, no orphan",
        ends_under_load,
    ),
)
