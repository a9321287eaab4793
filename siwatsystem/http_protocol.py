"""uvicorn's HTTP protocol with the limits that it does not have: how long, how large, and how many at once.

Without them a client that sends a byte now and then keeps its connection for ever, and one that never ends
its headers fills the memory.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from siwatsystem.web.bodies import ALLOWED, Allowance

REQUEST_SEC = 15.0
"""Longest time from the first byte of a connection, or of a further request, to the last of that request."""
MAX_REQUEST_BYTES = 128 * 1024
"""Request line, headers and body: browsers and backends send a few hundred."""
MAX_REST_BYTES = 64 * 1024 * 1024
"""Of a body beyond its allowance that is thrown away: most clients read no answer before all is sent."""
MAX_FIELDS = 1000
"""Headers and trailers of a request that is larger than most."""
READ_SEC = 1.0
"""Time to read an answer for who is cut while sending on after it."""
MAX_WAITING = 16
"""Requests that a client may send ahead without having read the answers."""


class LimitedProtocol(HttpToolsProtocol):
    """Ends a connection whose request is late or too large, or that asks for much ahead.

    Once the application knows who asks, it may allow a body more bytes and time (`web.bodies`). Before that
    uvicorn itself stops reading after a piece of it.
    """

    most_bytes = MAX_REQUEST_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None
        self._size = 0
        self._coming = False
        """Whether a request has begun that is not here as a whole."""
        self._over = False

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
        if self._size > self.most_bytes and not self._over:
            # The application, whose task began with the headers, is asked first what it allows.
            self.loop.call_soon(self._judge)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._coming = True
        self._await_request()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_WAITING:
            # Raised into the parser, which stops there; uvicorn answers 400 and closes.
            raise ValueError("too many requests are sent ahead")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._request_is_here()
        if getattr(self.cycle, "response_complete", False):  # None for a WebSocket's handshake
            # Answered before it was here as a whole: uvicorn's own wait for the next one has ended.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def handle_websocket_upgrade(self) -> None:
        self._unset_keepalive_if_required()
        self._request_is_here()
        super().handle_websocket_upgrade()

    @property
    def _allowed(self) -> Allowance | None:
        """What the application allows the body of the request that is coming."""
        return self.scope.get(ALLOWED) if self._coming else None  # type: ignore[return-value]

    def _judge(self) -> None:
        allowed, most = self._allowed, self.most_bytes
        if allowed is not None and len(self.headers) <= MAX_FIELDS:
            most += allowed.size + MAX_REST_BYTES
        if self._over or self._size <= most or self.transport.is_closing():
            return
        self._over = True
        self.logger.warning("a request was larger than %d bytes: cut", most)
        if getattr(self.cycle, "response_complete", False):
            self.flow.pause_reading()
            self.loop.call_later(READ_SEC, self.transport.abort)
        else:
            self.transport.abort()

    def _await_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_SEC, self._cut)

    def _request_is_here(self) -> None:
        self._size, self._coming = 0, False
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _cut(self, may_wait: bool = True) -> None:
        self._late = None
        allowed = self._allowed
        if may_wait and allowed is not None:
            self._late = self.loop.call_later(allowed.seconds, self._cut, False)
        elif not self.transport.is_closing():
            self.transport.abort()
