"""A backend as a customer would write it: subscribes displays to cameras, starts visits, listens."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Listener = Callable[[dict[str, Any]], None]
RECONNECT_SEC = 2.0


@dataclass
class Camera:
    """One subscription: which display looks at which camera, and where that camera is."""

    identifier: str
    address: str
    snapshot_interval_ms: int | None = None

    @property
    def display(self) -> str:
        return self.identifier.partition(";")[0]

    def subscribe(self, model_url: str, model_name: str, model_id: int) -> dict[str, Any]:
        """The `subscribe` message for this camera."""
        payload: dict[str, Any] = {
            "subscriptionIdentifier": self.identifier,
            "modelUrl": model_url,
            "modelName": model_name,
            "modelId": model_id,
        }
        if self.snapshot_interval_ms is None:
            payload["rtspUrl"] = self.address
        else:
            payload |= {"snapshotUrl": self.address, "snapshotInterval": self.snapshot_interval_ms}
        return {"type": "subscribe", "payload": payload}


@dataclass
class Backend:
    """Keeps a connection to the worker, with all cameras subscribed and a visit on every display."""

    worker_url: str
    model_url: str
    cameras: Sequence[Camera]
    listener: Listener
    visit_sec: float = 20.0
    model_name: str = "Demo cars"
    model_id: int = 101
    visits: dict[str, int] = field(default_factory=dict[str, int])

    async def run(self) -> None:
        """Until cancelled; connects again whenever the worker was away."""
        while True:
            with contextlib.suppress(OSError, ConnectionClosed):
                async with connect(self.worker_url, compression=None) as socket:
                    for camera in self.cameras:
                        message = camera.subscribe(self.model_url, self.model_name, self.model_id)
                        await socket.send(json.dumps(message))
                    async with self._visiting(socket):
                        await self._listen(socket)
            await asyncio.sleep(RECONNECT_SEC)

    async def _listen(self, socket: ClientConnection) -> None:
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == "patchSession":
                answer = {"sessionId": message["sessionId"], "success": True, "message": "merged"}
                await socket.send(json.dumps({"type": "patchSessionResult", "payload": answer}))
            self.listener(message)

    @contextlib.asynccontextmanager
    async def _visiting(self, socket: ClientConnection) -> AsyncIterator[None]:
        task = asyncio.create_task(self._visits(socket))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _visits(self, socket: ClientConnection) -> None:
        """A new visit on every display now and then, as cars come and go."""
        for number in itertools.count(1000):
            for index, camera in enumerate(self.cameras):
                session = number * 10 + index
                self.visits[camera.display] = session
                payload = {"displayIdentifier": camera.display, "sessionId": session}
                await socket.send(json.dumps({"type": "setSessionId", "payload": payload}))
            await asyncio.sleep(self.visit_sec)
