"""A backend for tests: a real socket, and waiting for what must come."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

Message = dict[str, Any]
PATIENCE = 60.0
"""Seconds to wait for what must come; long, because the machine may be busy with other things."""


class Client:
    """One connection. Keeps everything it received, in order."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self._stack = contextlib.ExitStack()
        self.socket: ClientConnection = self._stack.enter_context(
            connect(url, compression=None, additional_headers=headers, open_timeout=20, max_size=None)
        )
        self.received: list[Message] = []

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, message: Message | str) -> None:
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def subscribe(self, identifier: str, **payload: Any) -> None:
        fields = {"subscriptionIdentifier": identifier, "modelName": "Cars", "modelId": 101, **payload}
        self.send({"type": "subscribe", "payload": fields})

    def next(self, timeout: float) -> Message | None:
        try:
            message: Message = json.loads(self.socket.recv(timeout=timeout))
        except TimeoutError:
            return None
        self.received.append(message)
        return message

    def until(self, wanted: Callable[[Message], bool], what: str, *, timeout: float = PATIENCE) -> Message:
        """The next message for which `wanted` holds. Fails with what came instead."""
        deadline = time.monotonic() + timeout
        seen: list[Message] = []
        while (left := deadline - time.monotonic()) > 0:
            message = self.next(left)
            if message is None:
                break
            if wanted(message):
                return message
            seen.append(message)
        kinds = "\n".join(json.dumps(message)[:300] for message in seen[-8:])
        raise AssertionError(f"no {what} within {timeout:.0f} s; the last of {len(seen)} that came:\n{kinds}")

    def until_type(self, kind: str, *, timeout: float = PATIENCE) -> Message:
        return self.until(lambda message: message["type"] == kind, kind, timeout=timeout)

    def until_error(self, code: str, *, timeout: float = PATIENCE) -> Message:
        return self.until(
            lambda message: message["type"] == "error" and message["code"] == code, code, timeout=timeout
        )

    def until_online(self, identifier: str, online: bool = True, *, timeout: float = PATIENCE) -> Message:
        return self.until(
            lambda message: (state_of(message, identifier) or {}).get("online") is online,
            f"stateReport with {identifier} {'online' if online else 'offline'}",
            timeout=timeout,
        )

    def collect(self, seconds: float) -> list[Message]:
        """What comes in that time."""
        deadline = time.monotonic() + seconds
        found: list[Message] = []
        while (left := deadline - time.monotonic()) > 0:
            message = self.next(left)
            if message is not None:
                found.append(message)
        return found

    def closed(self, timeout: float = PATIENCE) -> int:
        """Wait for the other side to close; the close code."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.next(1)
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006
        raise AssertionError(f"not closed within {timeout:.0f} s")


def state_of(message: Message, identifier: str) -> Message | None:
    """The connection of that subscription in a state report."""
    if message["type"] != "stateReport":
        return None
    found = [
        camera for camera in message["cameraConnections"] if camera["subscriptionIdentifier"] == identifier
    ]
    return found[0] if found else None
