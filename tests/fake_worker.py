"""A fake worker that runs: in a thread of its own, on a port of its own."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.server import Server, serve

from tests.fake_protocol import DEFECTS, GRACE_SEC, FakeWorker

__all__ = ["DEFECTS", "GRACE_SEC", "Running", "fake_worker"]


class Running:
    """A fake worker in a thread of its own."""

    def __init__(self, worker: FakeWorker, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.worker, self.port, self._loop = worker, port, loop

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def do(self, what: Any) -> Any:
        """What the coroutine function `what`, called with the worker on its loop, gives."""
        return asyncio.run_coroutine_threadsafe(what(self.worker), self._loop).result(10)

    def drop(self) -> None:
        """Cut every connection."""

        async def cut(worker: FakeWorker) -> None:
            for peer in worker.peers:
                peer.socket.transport.abort()

        self.do(cut)

    def say(self, message: dict[str, Any] | str) -> None:
        """Send something to every connection, whatever it is."""

        async def send(worker: FakeWorker) -> None:
            for peer in worker.peers:
                await peer.socket.send(message if isinstance(message, str) else json.dumps(message))

        self.do(send)


@contextmanager
def fake_worker(*defects: str, port: int = 0) -> Iterator[Running]:
    """A running fake worker with these defects."""
    loop = asyncio.new_event_loop()
    worker = FakeWorker(frozenset(defects))
    started: list[Server] = []
    stop = asyncio.Event()
    ready = threading.Event()

    async def main() -> None:
        async with serve(
            worker.serve, "127.0.0.1", port, process_request=worker.http, compression=None, close_timeout=0.2
        ) as server:
            started.append(server)
            ready.set()
            analysing = asyncio.create_task(worker.analyse())
            await stop.wait()
            analysing.cancel()
            await asyncio.gather(analysing, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), name="fake-worker")
    thread.start()
    try:
        assert ready.wait(10)
        yield Running(worker, started[0].sockets[0].getsockname()[1], loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        for camera in worker.cameras.values():
            camera.close()
        loop.close()
