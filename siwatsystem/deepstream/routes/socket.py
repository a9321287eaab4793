"""`WS /deepstream/ws`: where analysis apps connect. One task reads, one sends."""

import asyncio
import contextlib
import logging
import time

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from siwatsystem.deepstream.connections import AppConnection
from siwatsystem.deepstream.events import ConnectionLost, Received
from siwatsystem.deepstream.routes.replies import service_of
from siwatsystem.deepstream.service import Service
from siwatsystem.session import POLICY_VIOLATION

log = logging.getLogger(__name__)
router = APIRouter(prefix="/deepstream")
PATH = "/deepstream/ws"

FIRST_MESSAGE_SEC = 10.0
TRY_AGAIN_LATER = 1013


@router.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    service = service_of(socket)
    await socket.accept()
    if service.closing or service.connections.full:
        reason = "the control server ends" if service.closing else "too many connections are open"
        await socket.close(TRY_AGAIN_LATER, reason)
        return
    connection = service.connections.open(getattr(socket.state, "caller", None))
    sender = asyncio.create_task(_send(service, connection, socket), name=f"send-app-{connection.number}")
    reader = asyncio.create_task(_read(service, connection, socket), name=f"read-app-{connection.number}")
    try:
        await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
        if connection.ending is not None:  # what was sent last says why
            await asyncio.wait({sender}, timeout=service.settings.websocket.send_timeout_sec)
    finally:
        for task in (sender, reader):
            task.cancel()
        if not connection.over:
            connection.over = True
            service.driver.tell(ConnectionLost(connection.number))
        try:
            for ended in await asyncio.gather(sender, reader, return_exceptions=True):
                if isinstance(ended, Exception):
                    log.error("an app's connection failed", exc_info=ended)
            await _close(service, connection, socket)
        finally:
            service.connections.remove(connection.number)


async def _close(service: Service, connection: AppConnection, socket: WebSocket) -> None:
    code, reason = 1001, "the server ends this connection"
    if connection.ending is not None:
        code, reason = connection.ending.code, connection.ending.reason
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError, OSError):
        async with asyncio.timeout(service.settings.websocket.send_timeout_sec):
            await socket.close(code, _short(reason))


def _short(reason: str) -> str:
    """A close frame has room for 123 bytes."""
    return reason.encode()[:120].decode(errors="ignore")


async def _read(service: Service, connection: AppConnection, socket: WebSocket) -> None:
    """Until the app leaves or is to be closed."""
    limit: float | None = FIRST_MESSAGE_SEC
    while connection.ending is None:
        try:
            async with asyncio.timeout(limit):
                message = await socket.receive()
        except TimeoutError:
            connection.end(POLICY_VIOLATION, f"no app_ready within {FIRST_MESSAGE_SEC:g} s")
            return
        except (WebSocketDisconnect, RuntimeError):
            return
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        said = connection.read(text if text is not None else message.get("bytes") or b"", time.monotonic())
        if said is None:
            if limit is not None:
                connection.end(POLICY_VIOLATION, "app_ready comes first")
            continue
        limit = None
        if connection.over:
            return
        await service.driver.handle(Received(connection.number, said))


async def _send(service: Service, connection: AppConnection, socket: WebSocket) -> None:
    """Until the app takes nothing for `send_timeout_sec`, or is to be closed."""
    while True:
        text = connection.next()
        if text is None:
            if connection.ending is not None:
                return
            connection.wake.clear()
            await connection.wake.wait()
            continue
        try:
            async with asyncio.timeout(service.settings.websocket.send_timeout_sec):
                await socket.send_text(text)
        except TimeoutError:
            log.warning("app connection %d takes nothing: cut", connection.number)
            return
        except (WebSocketDisconnect, RuntimeError, OSError):
            return
