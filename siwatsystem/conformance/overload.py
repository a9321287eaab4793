"""Checks of what happens when there is too much: of inference, and for who does not read."""

import asyncio
import itertools
import json
import socket
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from siwatsystem.client import Disconnected
from siwatsystem.client.connection import Connection, connected
from siwatsystem.conformance.kit import FRESH, REPORT, Kit, is_detection, is_report
from siwatsystem.conformance.outcomes import Failed, Group, Skipped
from siwatsystem.conformance.pattern import SIZE
from siwatsystem.conformance.wire import Arrived

EFFORT = 30
"""Of the heavy archive: about 2 GFLOP a frame."""
SUBSCRIPTIONS = 12
LOAD_SEC = 5.0
ENOUGH = 4
"""Detections of a subscription, on the mean, that can be compared; for them the load lasts three times."""
LEAST_SHARE = 1 / 3
SMALL_BUFFER = 4096
LISTED = 40
"""Subscriptions of who does not read, which make its reports long."""
LATE_SEC = 1.5
"""That a state report may come later than it is due while another client reads nothing."""
UNREAD_SEC = 3.0
"""How much longer than that nothing is read."""

GROUP = Group("overload")


@dataclass(frozen=True, slots=True)
class Load:
    """What came under load: ages of frames in seconds, oldest message first, and messages by subscription."""

    ages: list[float]
    counts: dict[str, int]


async def _load(kit: Kit) -> Load:
    """Subscriptions of one camera with a heavy archive, each with its own crop, so that none can share."""
    if "load" in kit.results:
        return kit.results["load"]
    camera, names = kit.camera(), [kit.name() for _ in range(SUBSCRIPTIONS)]
    async with kit.wire() as wire:
        for number, name in enumerate(names):
            edges = {"cropX1": 0, "cropY1": 0, "cropX2": SIZE - number, "cropY2": SIZE - number}
            await kit.subscribe(wire, name, camera, model="heavy", **edges)
        await kit.online(wire, *names, since=0)
        since = wire.mark()
        began = time.monotonic()
        seen: dict[str, list[Arrived]] = {}
        while (lasted := time.monotonic() - began) < 3 * LOAD_SEC:
            await asyncio.sleep(0.5)
            seen = {name: wire.find(is_detection(name), since) for name in names}
            if lasted > LOAD_SEC and sum(map(len, seen.values())) >= ENOUGH * SUBSCRIPTIONS:
                break
        for name in names:
            await kit.unsubscribe(wire, name)
    arrived = sorted((one for ones in seen.values() for one in ones), key=lambda one: one.at)
    ages = [age for age in map(kit.age, arrived) if age is not None]
    kit.results["load"] = load = Load(ages, {name: len(ones) for name, ones in seen.items()})
    return load


@GROUP.check(
    "newest-frames",
    expects=f"with {SUBSCRIPTIONS} heavy subscriptions detections are of frames that are not older for it",
    mend="keep one slot with the newest frame for each camera instead of a queue, and drop the others",
)
async def newest_frames(kit: Kit) -> None:
    ages = (await _load(kit)).ages
    if not ages and kit.options.model_url is not None:
        raise Skipped("how old a frame is can only be read from the kit's own archive")
    if not ages:
        raise Failed("no detection came under load")
    later = ages[len(ages) * 2 // 3 :]
    if statistics.median(later) > kit.soon(FRESH):
        median, most = statistics.median(later), max(later)
        raise Failed(f"towards the end frames were {median:.1f} s old (median), {most:.1f} s at most")


@GROUP.check(
    "fair-shares",
    expects="when inference cannot keep up, every subscription gets its share",
    mend="take turns among subscriptions instead of serving who asks first",
)
async def fair_shares(kit: Kit) -> None:
    counts = (await _load(kit)).counts
    mean = statistics.fmean(counts.values())
    if mean < ENOUGH:
        raise Skipped(f"{mean:.1f} detections a subscription are too few to compare")
    least = min(counts.values())
    if least < mean * LEAST_SHARE:
        raise Failed(f"one subscription got {least} detections, the mean is {mean:.1f}")


def _small_socket(url: str) -> socket.socket:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    family, kind, protocol, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0]
    small = socket.socket(family, kind, protocol)
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    small.settimeout(5)
    small.connect(address)
    small.setblocking(False)
    return small


async def _flood(kit: Kit, connection: Connection, camera: str) -> None:
    """Ask for long reports and read nothing, for a while; a worker may cut who does so."""
    with suppress(Disconnected, TimeoutError):
        for _ in range(LISTED):
            payload = kit.payload(kit.name(), camera, modelName="x" * 250)
            await connection.send(json.dumps({"type": "subscribe", "payload": payload}))
        seconds = kit.soon(LATE_SEC) + UNREAD_SEC
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            async with asyncio.timeout(seconds):
                await connection.send('{"type": "requestState"}')
            await asyncio.sleep(0.01)


@GROUP.check(
    "slow-reader",
    expects="a client that reads nothing holds up nobody else: reports and detections of others stay on time",
    mend="send from a task for each connection, with a bounded queue, and cut who takes nothing",
)
async def slow_reader(kit: Kit) -> None:
    small = await asyncio.to_thread(_small_socket, kit.url)
    async with kit.watching() as (wire, name):
        sees = await kit.seen(wire, name, since=0)
        began, since = time.monotonic(), wire.mark()
        async with connected(kit.url, token=kit.token, max_queue=1, sock=small) as silent:
            await _flood(kit, silent, kit.camera())
            await wire.wait(is_detection(name), kit.soon(REPORT))
            silent.abort()
        lasted = time.monotonic() - began
        reports = [began, *(one.at for one in wire.find(is_report, since)), began + lasted]
        longest = max(after - before for before, after in itertools.pairwise(reports))
        if longest > REPORT + kit.soon(LATE_SEC) and kit.results.get("heartbeat", True):
            raise Failed(f"for {longest:.1f} s another client got no stateReport")
        seen = wire.find(is_detection(name), since)
        ages = [age for age in map(kit.age, seen) if age is not None]
        if (sees and not seen) or (ages and max(ages) > kit.soon(FRESH)):
            oldest = f", the oldest {max(ages):.1f} s" if ages else ""
            raise Failed(f"another client got {len(seen)} detections in {lasted:.0f} s{oldest}")
