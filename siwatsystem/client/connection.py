"""One WebSocket to a worker: commands out, texts in. Nothing is remembered, nothing is tried again."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from siwatsystem.client import arguments
from siwatsystem.client.errors import Disconnected, Unauthorized, Unreachable
from siwatsystem.messages import Command

MAX_BYTES = 16 << 20
"""Of one message; a state report of 10,000 subscriptions has about 2 MB."""
CLOSE_SEC = 2.0
HINT = "is this the worker's address and port?"


class Connection:
    """An open connection. Made by `connected`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: Command | str | bytes) -> None:
        """Send a command, or a text as it is. Raises Disconnected."""
        text = message if isinstance(message, str | bytes) else text_of(message)
        try:
            await self._socket.send(text)
        except ConnectionClosed as closed:
            raise ended(closed) from None

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """The next text. Raises TimeoutError after `timeout` seconds without one, and Disconnected."""
        try:
            async with asyncio.timeout(timeout):
                return await self._socket.recv()
        except ConnectionClosed as closed:
            raise ended(closed) from None

    def abort(self) -> None:
        """Cut the connection at once, as a cable that is pulled would."""
        self._socket.transport.abort()


@asynccontextmanager
async def connected(
    url: str,
    *,
    token: str | None = None,
    timeout: float = 10.0,
    context: ssl.SSLContext | None = None,
    max_queue: int | None = 16,
    sock: socket.socket | None = None,
) -> AsyncGenerator[Connection]:
    """A connection to `ws://…` or `wss://…`, closed with the block; `token` is the worker's control token.

    Of what nobody receives `max_queue` messages are kept, then the socket is not read any more. `sock`: one
    that is connected already. Raises Unauthorized, Unreachable where none came about within `timeout`
    seconds, and ValueError for what is no address and for a token with a line break.
    """
    arguments.address(url)
    shown = arguments.shown(url)
    headers = {"Authorization": f"Bearer {arguments.secret(token)}"} if token else None
    given = {"ssl": context, "sock": sock}
    more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        opened = await connect(
            url,
            additional_headers=headers,
            compression=None,
            open_timeout=timeout,
            close_timeout=CLOSE_SEC,
            max_size=MAX_BYTES,
            max_queue=max_queue,
            proxy=None,
            **more,
        )
    except InvalidStatus as refused:
        status = refused.response.status_code
        if status in (401, 403):
            raise Unauthorized(
                f"{shown}: refused with HTTP {status}; the token is missing, wrong, or only a view token: "
                f"the control token is needed{_of_path(url)}"
            ) from None
        raise Unreachable(f"{shown}: answered with HTTP {status}, not as a WebSocket: {HINT}") from None
    except (InvalidURI, ValueError):
        raise Unreachable(f"{shown}: not an address of the form ws://host:port/") from None
    except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
        raise Unreachable(f"{shown}: {_explained(error, timeout)}") from None
    try:
        yield Connection(opened)
    finally:
        await opened.close()


def _of_path(url: str) -> str:
    """A worker refuses a WebSocket at a path that is none of its own like one without a token."""
    path = urlsplit(url).path
    own = path in ("", "/")
    return (
        "" if own else f"; or the path is wrong: a worker answers at / alone, at {path} only behind a proxy"
    )


def _explained(error: Exception, timeout: float) -> str:
    """Why there is no connection, and what to look at."""
    said = str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in said:
        return f"nothing listens there: {HINT}"
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror}): {HINT}"
    if isinstance(error, TimeoutError):
        return f"no WebSocket answered within {timeout:g} s: {HINT}"
    if isinstance(error, InvalidHandshake | EOFError):
        return f"what answers there is no WebSocket ({said}): {HINT}"
    return said


def text_of(command: Command) -> str:
    """The command as JSON, with the keys that were given."""
    body = command.model_dump(by_alias=True, exclude_unset=True)
    return orjson.dumps({"type": command.type, **body}).decode()


def ended(closed: ConnectionClosed) -> Disconnected:
    if closed.rcvd is None:
        return Disconnected(1006, str(closed.sent.reason) if closed.sent else "")
    return Disconnected(closed.rcvd.code, closed.rcvd.reason)
