"""The configured server: uvicorn with the limits and socket options that the promises need."""

import contextlib
import signal
import socket
from collections.abc import Generator

import uvicorn
from fastapi import FastAPI

from siwatsystem.config import Settings
from siwatsystem.errors import InvalidSetting

LOOPBACK = "127.0.0.1"
GRACE_SEC = 2
"""Time for open requests to end by themselves when the worker is told to stop."""


class Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 when told to stop.

    uvicorn raises the signal again once it has shut down, so that its parent sees a death by
    signal; a worker that was asked to stop and did is no failure.
    """

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
    return LOOPBACK if settings.control_token is None else "0.0.0.0"  # noqa: S104


def run(app: FastAPI, settings: Settings) -> None:
    """Serve `app` until told to stop. Raises InvalidSetting when the address cannot be had."""
    limits = settings.websocket
    config = uvicorn.Config(
        app,
        host=address(settings),
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=limits.max_message_kb * 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_SEC,
        timeout_keep_alive=10,
        limit_concurrency=limits.max_connections + 1024,
    )
    listener = listen(config.host, settings)
    app.state.configured_server = True
    with listener:
        Server(config).run(sockets=[listener])


def listen(host: str, settings: Settings) -> socket.socket:
    """A listening socket whose connections are cut when the other side acknowledges nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit both.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.websocket.send_buffer_kb * 1024)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            timeout = int(settings.websocket.send_timeout_sec * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        listener.bind((host, settings.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise InvalidSetting(f"cannot listen on {host}:{settings.port}: {error.strerror or error}") from None
    return listener
