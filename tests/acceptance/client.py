"""A bare socket for tests of what is said: messages as JSON, right and wrong ones.

What a worker does with a backend that talks as it should is tested with `backend.Backend`.
"""

import contextlib
import json
import time
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.listening import PATIENCE, Listening, Message, state_of

__all__ = ["Client", "Message", "state_of"]


class Client(Listening):
    """One connection."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self.socket: ClientConnection = self._stack.enter_context(
            connect(
                url,
                compression=None,
                additional_headers=headers,
                open_timeout=20,
                max_size=None,
                max_queue=None,  # behind a bound, the close would wait for what a test does not read
            )
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, message: Message | str) -> None:
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def subscribe(self, identifier: str, **payload: Any) -> None:
        fields = {"subscriptionIdentifier": identifier, "modelName": "Cars", "modelId": 101, **payload}
        self.send({"type": "subscribe", "payload": fields})

    def _take(self, timeout: float) -> Message | None:
        try:
            return json.loads(self.socket.recv(timeout=timeout))
        except TimeoutError:
            return None

    def closed(self, timeout: float = PATIENCE) -> int:
        """Wait for the other side to close; the close code."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.next(1)
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006
        raise AssertionError(f"not closed within {timeout:.0f} s")
