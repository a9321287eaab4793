"""A backend as a customer would write it: subscribes displays to cameras, starts visits, listens."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from siwatsystem.client import Client, ClientError, Unreadable

log = logging.getLogger(__name__)

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

    async def subscribe(self, worker: Client, model_url: str, model_name: str, model_id: int) -> None:
        """Ask the worker for this camera. Raises ClientError."""
        is_video = self.snapshot_interval_ms is None
        await worker.subscribe(
            self.identifier,
            rtsp_url=self.address if is_video else None,
            snapshot_url=None if is_video else self.address,
            snapshot_interval=self.snapshot_interval_ms,
            model_url=model_url,
            model_name=model_name,
            model_id=model_id,
        )


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
        """Until cancelled; the client connects again whenever the worker was away."""
        while True:
            try:
                async with Client(self.worker_url) as worker:
                    messages = worker.messages()
                    visiting = asyncio.create_task(self._visits(worker))
                    try:
                        for camera in self.cameras:
                            await camera.subscribe(worker, self.model_url, self.model_name, self.model_id)
                        async for message in messages:
                            self._heard(message)
                    finally:
                        visiting.cancel()
                        await asyncio.gather(visiting, return_exceptions=True)
            except ClientError as error:
                log.warning("%s", error)
            await asyncio.sleep(RECONNECT_SEC)

    def _heard(self, message: Any) -> None:
        if not isinstance(message, Unreadable):
            fields: dict[str, Any] = message.model_dump(by_alias=True, exclude_unset=True)
            self.listener({"type": message.type, **fields})

    async def _visits(self, worker: Client) -> None:
        """A new visit on every display now and then, as cars come and go."""
        for number in itertools.count(1000):
            for index, camera in enumerate(self.cameras):
                session = number * 10 + index
                self.visits[camera.display] = session
                await worker.set_session(camera.display, session)
            await asyncio.sleep(self.visit_sec)
