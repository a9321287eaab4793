"""A worker with a cheap pipeline and a client, for faults to be done to."""

import atexit
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench import rig
from tests.acceptance.client import Client, state_of
from tests.acceptance.worker import WorkerProcess, worker

DISPLAY = "display-1"


class Site:
    """The running worker, and a backend connected to it."""

    def __init__(self, running: WorkerProcess, client: Client) -> None:
        self.worker = running
        self.client = client
        self.process = psutil.Process(running.process.child.pid)

    def subscribe(self, camera: str, url: str, **more: Any) -> str:
        """Subscribe `camera` at an `rtsp` or `http` address (`snapshotInterval` too for that). Returns
        the subscription's identifier."""
        identifier = f"{DISPLAY};{camera}"
        kind = "snapshotUrl" if url.startswith("http") else "rtspUrl"
        address = {kind: url, "modelUrl": archive().as_uri(), "modelId": 7, "modelName": "Cars"}
        self.client.subscribe(identifier, **{**address, **more})
        return identifier

    def told(self, identifier: str, online: bool, timeout: float = 240.0) -> float:
        """Seconds until a state report calls the subscription online, or offline."""
        began = time.monotonic()
        self.client.until_online(identifier, online, timeout=timeout)
        return time.monotonic() - began

    def all_told(self, names: Sequence[str], online: bool, timeout: float = 240.0) -> list[float]:
        """Seconds until a state report called each of the subscriptions online, or offline."""
        began, told = time.monotonic(), dict[str, float]()
        while missing := set(names) - told.keys():
            left = timeout - (time.monotonic() - began)
            assert left > 0, f"{missing}: not {'online' if online else 'offline'} within {timeout:.0f} s"
            message = self.client.next(left)
            for name in missing if message is not None else ():
                if (state_of(message, name) or {}).get("online") is online:
                    told[name] = time.monotonic() - began
        return [told[name] for name in names]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a series over its labels, or of those with the labels given."""
        lines = self.worker.get("/metrics")[1].decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found if all(one in line for one in wanted))

    def analysed(self, identifier: str) -> float:
        return self.metric("siwat_frames_analysed_total", subscription=identifier)

    def moments_of_more(self, before: Mapping[str, float], timeout: float = 60.0) -> dict[str, float]:
        """When (`time.monotonic`) more frames of each subscription were analysed than `before`."""
        began, found = time.monotonic(), dict[str, float]()
        while missing := before.keys() - found.keys():
            found |= {name: time.monotonic() for name in missing if self.analysed(name) > before[name]}
            assert time.monotonic() - began < timeout, f"{missing}: no frame within {timeout:.0f} s"
            self.client.collect(0.05)
        return found

    def rate(self, identifier: str, seconds: float) -> float:
        """Frames a second that are analysed for a subscription, over so many seconds."""
        before, began = self.analysed(identifier), time.monotonic()
        self.client.collect(seconds)
        return (self.analysed(identifier) - before) / (time.monotonic() - began)

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> float:
        """Seconds until `condition` holds, while the client goes on reading."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout, f"{what}: not within {timeout:.0f} s"
            self.client.collect(0.05)
        return time.monotonic() - began

    def depth(self) -> int:
        """Actions that wait on disk."""
        return int(self.worker.json("/health")["outbox"]["depth"])

    def done(self, action: str) -> float:
        """Actions of a kind that were delivered."""
        return self.metric("siwat_actions_total", action=action, outcome="done")

    @property
    def alive(self) -> bool:
        return self.worker.process.child.poll() is None


class Visits:
    """Sessions of the site's display, one after the other."""

    def __init__(self, here: Site, first: int = 1) -> None:
        self._here = here
        self._number = first - 1

    def go_on(self, seconds: float, each: float = 1.0) -> None:
        """Begin a visit every `each` seconds for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._number += 1
            payload = {"displayIdentifier": DISPLAY, "sessionId": self._number}
            self._here.client.send({"type": "setSessionId", "payload": payload})
            self._here.client.collect(each)


def own_mb(process: psutil.Process) -> float:
    """Megabytes that a process has allocated and touched. A library that another process maps or lets go
    of does not change it, as it does the USS."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap")) * 1024 / 1e6


@functools.cache
def archive() -> Path:
    """The demo's detector alone; one file for all that this process plays."""
    folder = tempfile.TemporaryDirectory(prefix="siwat-fault-archive-")
    atexit.register(folder.cleanup)
    return rig.archive("detector", rig.detector_only, Path(folder.name))


@contextmanager
def site(folder: Path, **env: str) -> Iterator[Site]:
    """A worker with its data below `folder`; `env` are settings as variables."""
    settings = {
        "SIWAT_MODELS__ALLOW_FILE": "true",
        "SIWAT_RUNTIME__PRECISION": "exact",
        "SIWAT_MAX_RETRIES": "-1",
        **env,
    }
    with worker(folder / "worker", **settings) as running, running.client() as client:
        yield Site(running, client)
