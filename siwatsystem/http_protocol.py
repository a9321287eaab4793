"""uvicorn's HTTP protocol with the limits that it does not have: how long, how large, and how many at once.

Without them a client that sends a byte now and then keeps its connection for ever, and one that never ends
its headers fills the memory.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SEC = 15.0
"""Longest time from the first byte of a connection, or of a further request, to the last of that request."""
MAX_REQUEST_BYTES = 128 * 1024
"""Request line, headers and body: browsers and backends send a few hundred."""
MAX_WAITING = 16
"""Requests that a client may send ahead without having read the answers."""


class LimitedProtocol(HttpToolsProtocol):
    """Ends a connection whose request is late or too large, or that asks for much ahead."""

    most_bytes = MAX_REQUEST_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None
        self._size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Blank lines between requests count too: they end uvicorn's own wait for the next one.
        if getattr(self.cycle, "response_complete", True):  # None before the first request
            self._await_request()
        self._size += len(data)
        super().data_received(data)
        if self._size > self.most_bytes and not self.transport.is_closing():
            self.logger.warning("a request was larger than %d bytes: cut", self.most_bytes)
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_request()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_WAITING:
            # Raised into the parser, which stops there; uvicorn answers 400 and closes.
            raise ValueError("too many requests are sent ahead")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._request_is_here()

    def handle_websocket_upgrade(self) -> None:
        self._request_is_here()
        super().handle_websocket_upgrade()

    def _await_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_SEC, self._cut)

    def _request_is_here(self) -> None:
        self._size = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _cut(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.abort()
