"""The faults of a soak: each is a context, within which it lasts, and names what it hits."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.faults.clients import flooding
from tests.faults.proxy import Faults
from tests.faults.scene import Scene
from tests.faults.site import archive
from tests.faults.snapshots import WAYS
from tests.faults.stuck import StuckClient
from tests.servers import Server

Make = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One fault. `hits`: the camera (`rtsp`, `http`) or server (`redis`, `postgresql`) that may be gone
    meanwhile; empty where nothing may."""

    name: str
    make: Make
    hits: str = ""


@contextmanager
def _camera_killed(here: Scene) -> Iterator[None]:
    here.rtsp.kill()
    try:
        yield
    finally:
        here.rtsp.start()


@contextmanager
def _camera_stopped(here: Scene) -> Iterator[None]:
    here.rtsp.pause()
    try:
        yield
    finally:
        here.rtsp.resume()


def _through(proxy: str, **values: Any) -> Make:
    """The proxy before something does what `values` say."""

    @contextmanager
    def make(here: Scene) -> Iterator[None]:
        here.proxies[proxy].faults = Faults(seed=here.chance.randrange(1 << 30), **values)
        if values.get("refuse"):
            here.proxies[proxy].cut()  # else what is connected would stay so
        try:
            yield
        finally:
            here.proxies[proxy].none()

    return make


def _cut(proxy: str, every_sec: float = 3.0) -> Make:
    """All connections through a proxy are reset, again and again."""

    @contextmanager
    def make(here: Scene) -> Iterator[None]:
        with _repeating(here.proxies[proxy].cut, every_sec):
            yield

    return make


def _snapshots(way: str) -> Make:
    @contextmanager
    def make(here: Scene) -> Iterator[None]:
        here.snapshots.way = way
        try:
            yield
        finally:
            here.snapshots.way = "well"

    return make


def _server(which: Callable[[Scene], Server], how: str) -> Make:
    @contextmanager
    def make(here: Scene) -> Iterator[None]:
        server = which(here)
        getattr(server, how)()
        try:
            yield
        finally:
            (server.start if how == "kill" else server.resume)()

    return make


@contextmanager
def _client_stuck(here: Scene) -> Iterator[None]:
    """A client with forty displays that reads nothing. They see the detector alone, without actions."""
    model = {"modelUrl": archive().as_uri(), "modelId": 8, "modelName": "Detector"}
    with StuckClient(here.worker.port) as stuck:
        for number in range(40):
            payload = {**here.payload, **model, "subscriptionIdentifier": f"stuck-{number};cam"}
            stuck.send(json.dumps({"type": "subscribe", "payload": payload}))
        yield


@contextmanager
def _bad_json(here: Scene) -> Iterator[None]:
    counted = {"sent": 0, "closed": 0, "answered": 0}
    with flooding(f"ws://127.0.0.1:{here.worker.port}/", 300, counted):
        yield


@contextmanager
def _subscriptions_cycle(here: Scene) -> Iterator[None]:
    """Displays are subscribed and unsubscribed, five a second."""
    number = 0

    def cycle() -> None:
        nonlocal number
        number += 1
        url = here.payload["rtspUrl"] if number % 2 else "rtsp://127.0.0.1:9/nobody"
        payload = {**here.payload, "subscriptionIdentifier": f"cycle-{number};cam", "rtspUrl": url}
        socket.send(json.dumps({"type": "subscribe", "payload": payload}))
        socket.send(json.dumps({"type": "unsubscribe", "payload": payload}))
        with suppress(TimeoutError):
            while True:
                socket.recv(timeout=0)

    url = f"ws://127.0.0.1:{here.worker.port}/"
    with connect(url, compression=None, max_size=None) as socket, _repeating(cycle, 0.2):
        yield


@contextmanager
def _sessions_change(here: Scene) -> Iterator[None]:
    """Both displays begin a visit ten times a second."""
    with _repeating(here.backend.begin_visits, 0.1):
        yield


@contextmanager
def _download_cut(here: Scene) -> Iterator[None]:
    """Somebody asks for an archive whose download breaks off, again and again."""
    name = f"new-{time.monotonic_ns()}.mpta"
    whole = (here.shelf.folder / "cars.mpta").read_bytes()
    new = here.shelf.folder / name
    new.write_bytes(whole)
    proxy = here.proxies["shelf"]
    proxy.faults = Faults(truncate_after=int(len(whole) * here.chance.choice((0.01, 0.5, 0.99))))
    url = f"http://127.0.0.1:{proxy.port}/{name}"
    payload = {**here.payload, "subscriptionIdentifier": "new;cam", "modelUrl": url, "modelId": 9}
    try:
        with connect(f"ws://127.0.0.1:{here.worker.port}/", compression=None, max_size=None) as socket:
            socket.send(json.dumps({"type": "subscribe", "payload": payload}))
            yield
            with suppress(WebSocketException):
                socket.send(json.dumps({"type": "unsubscribe", "payload": payload}))
    finally:
        proxy.none()
        new.unlink()


@contextmanager
def _repeating(work: Callable[[], object], every_sec: float) -> Iterator[None]:
    """`work` again and again on a thread, until the end of the block or its first failure."""
    ended = threading.Event()

    def repeat() -> None:
        with suppress(OSError, WebSocketException):
            while not ended.wait(every_sec):
                work()

    thread = threading.Thread(target=repeat, name="trouble", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


TROUBLES = (
    Trouble("RTSP server killed", _camera_killed, "rtsp"),
    Trouble("RTSP server stopped", _camera_stopped, "rtsp"),
    Trouble("RTSP slow network", _through("rtsp", latency_sec=0.4), "rtsp"),
    Trouble("RTSP cut", _cut("rtsp"), "rtsp"),
    Trouble("RTSP black hole", _through("rtsp", black_hole=True), "rtsp"),
    Trouble("RTSP bit flips", _through("rtsp", flip_one_of=4000), "rtsp"),
    Trouble("RTSP truncated", _through("rtsp", truncate_after=60_000), "rtsp"),
    Trouble("RTSP refused", _through("rtsp", refuse=True), "rtsp"),
    *(Trouble(f"snapshots {way}", _snapshots(way), "http") for way in WAYS if way != "well"),
    Trouble("snapshots black hole", _through("http", black_hole=True), "http"),
    Trouble("snapshots cut", _cut("http"), "http"),
    Trouble("snapshots refused", _through("http", refuse=True), "http"),
    Trouble("Redis killed", _server(lambda here: here.there.redis, "kill"), "redis"),
    Trouble("Redis stopped", _server(lambda here: here.there.redis, "pause"), "redis"),
    Trouble("Redis black hole", _through("redis", black_hole=True), "redis"),
    Trouble("Redis cut", _cut("redis"), "redis"),
    Trouble("PostgreSQL killed", _server(lambda here: here.there.postgresql, "kill"), "postgresql"),
    Trouble("PostgreSQL stopped", _server(lambda here: here.there.postgresql, "pause"), "postgresql"),
    Trouble("PostgreSQL black hole", _through("postgresql", black_hole=True), "postgresql"),
    Trouble("PostgreSQL cut", _cut("postgresql"), "postgresql"),
    Trouble("client stuck", _client_stuck),
    Trouble("bad JSON", _bad_json),
    Trouble("subscriptions cycle", _subscriptions_cycle),
    Trouble("sessions change", _sessions_change),
    Trouble("download cut", _download_cut),
)
