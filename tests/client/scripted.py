"""A worker that says what it is told to, and what tests of the client have in common."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from siwatsystem.conformance.stand import Stand
from siwatsystem.session import TokenBucket

NAME = "display-1;cam"


def asked(cameras: Stand, **more: Any) -> dict[str, Any]:
    given = {
        "rtsp_url": cameras.video("a"),
        "model_url": cameras.archive("check"),
        "model_name": "Cars",
        "model_id": 101,
    }
    return {**given, **more}


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await scene()

    asyncio.run(bounded())


REPORT: dict[str, Any] = {
    "type": "stateReport",
    "cpuUsage": 12.5,
    "memoryUsage": 40,
    "gpuUsage": None,
    "gpuMemoryUsage": None,
    "cameraConnections": [],
}


class Script:
    def __init__(self, silent: bool) -> None:
        self.silent = silent
        self.connections = 0
        self.heard = 0
        self.taken: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.refuse = ""
        self.fails: tuple[str, ...] = ()
        """Codes of what fails at once: told before the report that lists a subscription."""
        self.merges = True
        self.socket: ServerConnection | None = None
        self.heard_here = 0
        """Over the present connection."""
        self.bucket: TokenBucket | None = None
        self.allows: Callable[[], TokenBucket] | None = None
        """Gives the bucket of a new connection."""
        self.late: dict[str, Any] | None = None
        """What a report said that was under way when a command came."""

    async def serve(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.connections += 1
        self.heard_here = 0
        if self.allows is not None:
            self.bucket = self.allows()
        async for text in socket:
            self.heard += 1
            if self.bucket is not None and not self.bucket.take(time.monotonic()):
                await socket.close(1008, "too many messages a second")
                return
            self.heard_here += 1
            if not self.silent:
                await self.take(json.loads(text))

    async def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            payload = message["payload"]
            identifier = payload["subscriptionIdentifier"]
            if self.late is not None:
                await self.report(self.late)
            if self.refuse:
                error = {"type": "error", "error": "no", "code": self.refuse}
                await self.send({**error, "subscriptionIdentifier": identifier})
                return
            for code in self.fails:
                error = {"type": "error", "error": f"told: {code}", "code": code}
                await self.send({**error, "subscriptionIdentifier": identifier})
            self.taken.append(message)
            await self.report(self.entry())
        elif message["type"] == "patchSessionResult":
            self.answers.append(message["payload"])
        elif message["type"] == "patchSession":
            answer = {"success": self.merges, "message": "" if self.merges else "too large"}
            payload = {"sessionId": message["sessionId"], **answer}
            await self.send({"type": "patchSessionResult", "payload": payload})
        elif message["type"] == "requestState":
            await (self.report(self.entry()) if self.taken else self.send(REPORT))

    async def send(self, message: dict[str, Any] | str) -> None:
        await until(lambda: self.socket)
        assert self.socket is not None
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def entry(self) -> dict[str, Any]:
        """The newest subscription, as reports list it."""
        names = ("subscriptionIdentifier", "modelId", "modelName")
        return {name: self.taken[-1]["payload"][name] for name in names}

    async def report(self, entry: dict[str, Any]) -> None:
        await self.send({**REPORT, "cameraConnections": [{**entry, "online": False}]})

    async def cut(self) -> None:
        assert self.socket is not None
        self.socket.transport.abort()


@contextlib.asynccontextmanager
async def scripted(silent: bool = False, token: str | None = None):
    script = Script(silent)

    def guard(connection: ServerConnection, request: Request) -> Response | None:
        if token is None or request.headers.get("Authorization") == f"Bearer {token}":
            return None
        return connection.respond(403, "no\n")

    async with serve(script.serve, "127.0.0.1", 0, process_request=guard, close_timeout=0.2) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", script


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)
