"""`WS /`: a thin driver around the pure conversation. One task reads, one sends."""

import asyncio
import contextlib
import logging

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from siwatsystem import messages, metrics
from siwatsystem.connections import Connection
from siwatsystem.routes.access import worker_of
from siwatsystem.worker import Worker

log = logging.getLogger(__name__)
router = APIRouter()

YIELD_EVERY = 16
"""Messages of one client that are taken before others get their turn."""


@router.websocket("/")
async def websocket(socket: WebSocket) -> None:
    worker = worker_of(socket)
    if len(worker.connections) >= worker.settings.websocket.max_connections:
        # A refusal before it is accepted is HTTP 403 to the client, as for a token that is wrong.
        await socket.accept()
        await socket.close(1013, "as many connections are open as this worker allows")
        return
    await socket.accept()
    connection = worker.connect()
    sender = asyncio.create_task(_send(worker, connection, socket), name=f"send-{connection.id}")
    reader = asyncio.create_task(_read(worker, connection, socket), name=f"read-{connection.id}")
    try:
        await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
        if connection.close is not None:
            # The last answers say why.
            await asyncio.wait({sender}, timeout=worker.settings.websocket.send_timeout_sec)
    finally:
        for task in (sender, reader):
            task.cancel()
        try:
            worker.disconnect(connection)
        finally:
            await _end(sender, reader)
            await _close(worker, connection, socket)


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Wait for both tasks; what ended one unexpectedly must not go unnoticed."""
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            log.error("a connection's task failed", exc_info=ended)


async def _close(worker: Worker, connection: Connection, socket: WebSocket) -> None:
    reason = connection.close
    code, text = (reason.code, reason.reason) if reason else (1001, "the worker ends this connection")
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        await asyncio.wait_for(socket.close(code, text), worker.settings.websocket.send_timeout_sec)


async def _read(worker: Worker, connection: Connection, socket: WebSocket) -> None:
    """Until the client leaves or is to be closed."""
    taken = 0
    while connection.close is None:
        try:
            message = await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        worker.receive(connection, text if text is not None else message.get("bytes") or b"")
        taken += 1
        if taken % YIELD_EVERY == 0:
            await asyncio.sleep(0)


async def _send(worker: Worker, connection: Connection, socket: WebSocket) -> None:
    """Until the client takes no byte for `send_timeout_sec`, or is to be closed."""
    timeout = worker.settings.websocket.send_timeout_sec
    while True:
        message = worker.connections.next(connection)
        if message is None:
            if connection.close is not None:
                return
            connection.wake.clear()
            await connection.wake.wait()
            continue
        try:
            # A task of its own for each message would cost more than sending it.
            async with asyncio.timeout(timeout):
                await socket.send_text(messages.encode(message))
        except TimeoutError:
            log.warning("connection %d takes nothing: cut", connection.id)
            return
        except (WebSocketDisconnect, RuntimeError, OSError):
            return
        if message.type == "imageDetection":
            metrics.DETECTIONS_SENT.inc()
        await asyncio.sleep(0)  # others get their turn, however much waits here
