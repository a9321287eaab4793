"""The configured server: uvicorn with the limits and socket options that the promises need."""

import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from siwatsystem import heaps
from siwatsystem.config import Settings
from siwatsystem.errors import InvalidSetting
from siwatsystem.http_protocol import LimitedProtocol

log = logging.getLogger(__name__)

LINGER_SEC = 0.5
"""Time for threads to end once everything was closed."""
LOOPBACK = "127.0.0.1"
GRACE_SEC = 2
"""Time for open requests to end by themselves when the worker is told to stop."""


Ending = Callable[[], Awaitable[None]]
"""What is to be done while requests are still answered, but the server was told to stop."""


class Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 when told to stop.

    uvicorn raises the signal again once it has shut down, so that its parent sees a death by
    signal; a worker that was asked to stop and did is no failure.
    """

    def __init__(self, config: uvicorn.Config, ending: Ending | None = None) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._ending is not None:
            await self._ending()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Modules, settings and routes stay for good: looking through them again and again for garbage
        # took a fifth of the event loop's time under many requests.
        gc.freeze()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def address(settings: Settings) -> str:
    """Where to listen: as set, else loopback, else everywhere once a token guards the commands."""
    if settings.host is not None:
        return settings.host
    return LOOPBACK if settings.control_token is None else "0.0.0.0"  # noqa: S104 # nosec B104 # the token guards it


def trusted(settings: Settings) -> list[str]:
    """The proxies, as uvicorn takes them: it ignores a network whose host bits are set."""
    return [str(ipaddress.ip_network(each, strict=False)) for each in settings.proxies]


def configuration(
    app: FastAPI,
    settings: Settings,
    where: tuple[str, int],
    protocol: type[LimitedProtocol] = LimitedProtocol,
) -> uvicorn.Config:
    """How uvicorn serves `app` at `where`: with the limits that are promised."""
    limits = settings.websocket
    return uvicorn.Config(
        app,
        host=where[0],
        port=where[1],
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=trusted(settings),
        http=protocol,
        ws="websockets-sansio",
        ws_max_size=limits.max_message_kb * 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_SEC,
        timeout_keep_alive=10,
        limit_concurrency=limits.max_connections + 1024,
    )


def run(
    app: FastAPI,
    settings: Settings,
    where: tuple[str, int] | None = None,
    protocol: type[LimitedProtocol] = LimitedProtocol,
    ending: Ending | None = None,
    send_buffer_kb: int | None = None,
) -> None:
    """Serve `app` until told to stop, at `where` instead of the worker's address. Raises InvalidSetting when
    it cannot start. `ending` is awaited before connections are ended; `send_buffer_kb` counts instead of
    the setting for displays."""
    heaps.share()
    host, port = where or (address(settings), settings.port)
    config = configuration(app, settings, (host, port), protocol)
    listener = listen(host, settings, port, send_buffer_kb)
    app.state.configured_server = True
    server = Server(config, ending)
    # What stopped the start is told in one line; uvicorn would print its traceback as well.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not hasattr(app.state, "startup_error"))
    try:
        with listener:
            server.run(sockets=[listener])
    finally:
        # uvicorn exits by itself where the start fails, with a status of its own.
        failed: str | None = getattr(app.state, "startup_error", None)
        if failed is not None:
            raise InvalidSetting(failed) from None


def leave(status: int) -> NoReturn:
    """End the process now, even where a library still holds a thread.

    Everything that counts is on disk by then; a model that is being loaded, or a resolver that does
    not answer, would otherwise keep the process for minutes.
    """
    deadline = time.monotonic() + LINGER_SEC
    while (left := _lingering()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        log.warning("ending with threads that do not: %s", ", ".join(thread.name for thread in left))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise SystemExit(status)


def _lingering() -> list[threading.Thread]:
    """Daemons too: one that is in a runtime's call while the interpreter ends takes the process down."""
    return [thread for thread in threading.enumerate() if thread is not threading.current_thread()]


def listen(
    host: str, settings: Settings, port: int | None = None, send_buffer_kb: int | None = None
) -> socket.socket:
    """A listening socket whose connections are cut when the other side acknowledges nothing."""
    port = settings.port if port is None else port
    buffer = (send_buffer_kb or settings.websocket.send_buffer_kb) * 1024
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit both.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            timeout = int(settings.websocket.send_timeout_sec * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise InvalidSetting(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener
