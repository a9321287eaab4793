"""A small worker of its own making, which speaks the protocol on real sockets, and can be told to be wrong.

It reads cameras over HTTP (MJPEG and snapshots) and sees the conformance kit's test picture; `defects` are
names from `DEFECTS`.
"""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import cv2
import orjson
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from siwatsystem.conformance import archive, pattern
from siwatsystem.errors import SiwatError
from siwatsystem.messages import (
    PatchSessionIn,
    PatchSessionResult,
    RequestState,
    SetSessionId,
    Subscribe,
    SubscribePayload,
    Unsubscribe,
    decode,
)
from tests.fake_camera import Camera

DEFECTS = frozenset(
    {
        "accepts bad crops",
        "analyses old frames",
        "blocks on slow readers",
        "closes on invalid JSON",
        "closes on unknown types",
        "confuses model names",
        "downloads again",
        "image ignores crop",
        "image of anything",
        "keeps cameras open",
        "knows no error",
        "late heartbeat",
        "local time",
        "no acknowledgement",
        "no answer to patches",
        "no answer to requestState",
        "no grace",
        "no heartbeat",
        "no memory usage",
        "no patches",
        "no report at once",
        "no session ids",
        "odd shapes",
        "patches once",
        "prefers video",
        "reopens cameras",
        "serves the first only",
        "shows all to all",
        "timestamp without milliseconds",
        "two connections a camera",
        "unsubscribe ignored",
        "wrong crop",
        "wrong errors",
    }
)
GRACE_SEC = 2.5
PACE_SEC = 0.25
MOST_SESSION = 64 * 1024
OLD_PICTURES = 120
"""As many as a queue holds: 12 seconds."""
IGNORED_SEC = 30.0


@dataclass
class Held:
    """A subscription."""

    payload: SubscribePayload
    camera: Camera
    owner: "Peer | None"
    number: int
    ends: float | None = None

    @property
    def identifier(self) -> str:
        return self.payload.subscription_identifier

    @property
    def display(self) -> str:
        return self.identifier.partition(";")[0]

    @property
    def is_online(self) -> bool:
        return bool(self.camera.frames)


@dataclass(eq=False)
class Peer:
    """A connection, with what waits for it."""

    socket: ServerConnection
    waiting: deque[dict[str, Any]] = field(default_factory=lambda: deque[dict[str, Any]](maxlen=64))
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "stateReport":
            kept = [one for one in self.waiting if one["type"] != "stateReport"]
            self.waiting = deque(kept, maxlen=self.waiting.maxlen)
        self.waiting.append(message)
        self.wake.set()

    async def run(self, turn: contextlib.AbstractAsyncContextManager[Any]) -> None:
        while True:
            while self.waiting:
                async with turn:
                    await self.socket.send(orjson.dumps(self.waiting.popleft()).decode())
            self.wake.clear()
            await self.wake.wait()


class FakeWorker:
    """The state of the whole worker. Lives on its event loop."""

    def __init__(self, defects: frozenset[str]) -> None:
        assert defects <= DEFECTS, defects - DEFECTS
        self.defects = defects
        self.peers: list[Peer] = []
        self.held: dict[str, Held] = {}
        self.cameras: dict[object, Camera] = {}
        self.sessions: dict[str, object] = {}
        self.patches: dict[str, tuple[str, object, dict[str, Any]]] = {}
        self.archives: set[tuple[object, str]] = set()
        self.numbers = 0
        self.one_turn = asyncio.Lock() if self.has("blocks on slow readers") else None

    def has(self, defect: str) -> bool:
        return defect in self.defects

    async def serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self.peers.append(peer)
        if not self.has("no report at once"):
            self.report(peer)
        tasks = [
            asyncio.create_task(peer.run(self.one_turn or asyncio.Lock())),
            asyncio.create_task(self.beat(peer)),
        ]
        try:
            async for text in socket:
                await self.take(peer, text)
        except ConnectionClosed:
            pass
        finally:
            self.peers.remove(peer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.leave(peer)

    async def beat(self, peer: Peer) -> None:
        while not self.has("no heartbeat"):
            await asyncio.sleep(5 if self.has("late heartbeat") else 2)
            self.report(peer)

    def leave(self, peer: Peer) -> None:
        for held in [one for one in self.held.values() if one.owner is peer]:
            held.owner = None
            held.ends = time.monotonic() + (0 if self.has("no grace") else GRACE_SEC)
            if self.has("no grace"):
                self.end(held)

    # --- commands

    async def take(self, peer: Peer, text: str | bytes) -> None:
        try:
            command = decode(text if isinstance(text, str) else "\x00")
        except SiwatError as error:
            if self.has("accepts bad crops") and error.code == "invalid_message" and "crop" in str(text):
                self.subscribe(peer, self.forgiven(str(text)))
                return
            if (self.has("closes on invalid JSON") and error.code == "invalid_json") or (
                self.has("closes on unknown types") and error.code == "unknown_type"
            ):
                await peer.socket.close(1003)
            self.tell(peer, "internal_error" if self.has("wrong errors") else error.code, error.message)
            return
        match command:
            case RequestState():
                if not self.has("no answer to requestState"):
                    self.report(peer)
            case Subscribe():
                self.subscribe(peer, command.payload)
            case Unsubscribe():
                self.unsubscribe(peer, command.payload.subscription_identifier)
            case SetSessionId():
                self.sessions[command.payload.display_identifier] = command.payload.session_id
            case PatchSessionIn():
                if not self.has("no answer to patches"):
                    is_small = len(text) < MOST_SESSION
                    message = "merged" if is_small else "the session would be too large"
                    answer = {"sessionId": command.session_id, "success": is_small, "message": message}
                    odd = self.has("odd shapes")
                    peer.send({"type": "patchSessionResult", "payload": "ok" if odd else answer})
            case PatchSessionResult():
                self.patches.pop(str(command.payload.session_id), None)

    def forgiven(self, text: str) -> SubscribePayload:
        payload = {key: value for key, value in json.loads(text)["payload"].items() if "crop" not in key}
        return SubscribePayload.model_validate(payload)

    def tell(self, peer: Peer, code: str, text: str, identifier: str | None = None) -> None:
        about = {"subscriptionIdentifier": identifier} if identifier else {}
        if not self.has("knows no error"):
            peer.send({"type": "error", "error": text, "code": code, **about})

    def subscribe(self, peer: Peer, payload: SubscribePayload) -> None:
        self.fetch(payload)
        before = self.held.pop(payload.subscription_identifier, None)
        if before is not None and self.has("reopens cameras"):
            self.release(before.camera)
        camera = self.acquire(payload)
        if before is not None and not self.has("reopens cameras"):
            self.release(before.camera)
        self.numbers += 1
        held = Held(payload, camera, peer, before.number if before else self.numbers)
        self.held[held.identifier] = held
        if not self.has("no acknowledgement"):
            self.report_to(peer, before.owner if before else None)
        if not self.has("no patches"):
            for display, session, car in list(self.patches.values()):
                if display == held.display:
                    peer.send({"type": "patchSession", "sessionId": session, "data": {"currentCar": car}})
                    if self.has("patches once"):
                        del self.patches[str(session)]

    def fetch(self, payload: SubscribePayload) -> None:
        key = payload.model_id, payload.model_url
        if key not in self.archives or self.has("downloads again"):
            self.archives.add(key)
            urllib.request.urlopen(payload.model_url, timeout=5).read()

    def acquire(self, payload: SubscribePayload) -> Camera:
        snapshots = payload.snapshot_url is not None and not (self.has("prefers video") and payload.rtsp_url)
        url = (payload.snapshot_url if snapshots else payload.rtsp_url) or ""
        key: object = url
        if self.has("two connections a camera"):
            key = url, payload.subscription_identifier
        camera = self.cameras.get(key)
        if camera is None:
            camera = self.cameras[key] = Camera(url, payload.snapshot_interval if snapshots else None)
        camera.users += 1
        return camera

    def release(self, camera: Camera) -> None:
        camera.users -= 1
        if camera.users == 0:
            key = next(key for key, one in self.cameras.items() if one is camera)
            if self.has("keeps cameras open"):
                return
            del self.cameras[key]
            camera.close()

    def unsubscribe(self, peer: Peer, identifier: str) -> None:
        held = self.held.get(identifier)
        if held is None or held.owner is not peer:
            self.tell(peer, "unknown_subscription", f"no subscription {identifier}", identifier)
            return
        if self.has("unsubscribe ignored"):
            asyncio.get_running_loop().call_later(
                IGNORED_SEC, lambda: self.held.get(identifier) is held and self.end(held)
            )
        else:
            self.end(held)

    def end(self, held: Held) -> None:
        if self.held.get(held.identifier) is held:
            del self.held[held.identifier]
        self.release(held.camera)
        self.report_to(held.owner)

    # --- what is told

    def report_to(self, *peers: Peer | None) -> None:
        for peer in set(peers) - {None}:
            self.report(peer)

    def report(self, peer: Peer) -> None:
        mine = [one for one in self.held.values() if one.owner is peer or self.has("shows all to all")]
        report: dict[str, Any] = {
            "type": "stateReport",
            "cpuUsage": 12.5,
            "memoryUsage": 40.0,
            "gpuUsage": None,
            "gpuMemoryUsage": None,
            "cameraConnections": [self.entry(one) for one in mine],
        }
        if self.has("no memory usage"):
            del report["memoryUsage"]
        peer.send(report)

    def entry(self, held: Held) -> dict[str, Any]:
        names = ("cropX1", "cropY1", "cropX2", "cropY2")
        crop = dict(zip(names, held.payload.crop, strict=True)) if held.payload.crop else {}
        if crop and self.has("wrong crop"):
            crop["cropX1"] += 1
        return {
            "subscriptionIdentifier": held.identifier,
            "modelId": held.payload.model_id,
            "modelName": "?" if self.has("confuses model names") else held.payload.model_name,
            "online": held.is_online,
            **crop,
        }

    async def analyse(self) -> None:
        """A look at every subscription, for ever."""
        online: set[str] = set()
        while True:
            await asyncio.sleep(PACE_SEC)
            for held in list(self.held.values()):
                if held.ends is not None and time.monotonic() > held.ends:
                    self.end(held)
                elif held.is_online and not (self.has("serves the first only") and self.is_starved(held)):
                    self.see(held)
            now = {one.identifier for one in self.held.values() if one.is_online}
            changed, online = now ^ online, now
            self.report_to(*(one.owner for one in self.held.values() if one.identifier in changed))

    def is_starved(self, held: Held) -> bool:
        others = [one.number for one in self.held.values() if one.camera is held.camera]
        return len(others) > 10 and held.number != min(others)

    def see(self, held: Held) -> None:
        at, jpeg = held.camera.frames[-1]
        picture = pattern.decode(jpeg)
        assert picture is not None
        is_behind = self.has("analyses old frames") and self.is_busy(held)
        brand = archive.brand_of(pattern.number_of(picture) - (OLD_PICTURES if is_behind else 0))
        session = self.sessions.get(held.display)
        if held.owner is None and session is not None:
            self.patches[str(session)] = held.display, session, {"carBrand": brand}
        if held.owner is not None:
            held.owner.send(self.detection(held, at, brand, session))

    def is_busy(self, held: Held) -> bool:
        return sum(one.camera is held.camera for one in self.held.values()) > 10

    def detection(self, held: Held, at: float, brand: str, session: object) -> dict[str, Any]:
        hours = 7 * 3600 if self.has("local time") else 0
        when = datetime.fromtimestamp(at + hours, UTC).isoformat(timespec="milliseconds")
        if self.has("timestamp without milliseconds"):
            when = when[:19]
        x1, y1, x2, y2 = held.payload.crop or (0, 0, pattern.SIZE, pattern.SIZE)
        box = pattern.BOX
        data: dict[str, Any] = {
            "detection": {"class": archive.CLASS, "confidence": 0.9, archive.ATTRIBUTE: brand},
            "boundingBox": [max(box[0], x1), max(box[1], y1), min(box[2], x2), min(box[3], y2)],
            "modelId": held.payload.model_id,
            "modelName": held.payload.model_name,
        }
        return {
            "type": "imageDetection",
            "subscriptionIdentifier": held.identifier,
            "timestamp": when.replace("+00:00", "") + "Z",
            **({"sessionId": session} if session is not None and not self.has("no session ids") else {}),
            "data": [data] if self.has("odd shapes") else data,
        }

    def http(self, _: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        parts = urlsplit(request.path)
        names = [unquote(part) for part in parts.path.strip("/").split("/")]
        held = self.held.get(names[1]) if len(names) == 3 and names[0] == "camera" else None
        if self.has("image of anything"):
            held = held or next(iter(self.held.values()), None)
        if held is None or not held.is_online:
            return _response(404, "application/json", b'{"detail": "no such subscription"}')
        jpeg = held.camera.frames[-1][1]
        whole = "full" in parse_qs(parts.query) or self.has("image ignores crop")
        if held.payload.crop is not None and not whole:
            x1, y1, x2, y2 = held.payload.crop
            picture = pattern.decode(jpeg)
            assert picture is not None
            jpeg = cv2.imencode(".jpg", picture[y1:y2, x1:x2])[1].tobytes()
        return _response(200, "image/jpeg", jpeg)


def _response(status: int, kind: str, body: bytes) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, body)
