"""Waiting for what a worker must say."""

import abc
import json
import time
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]
PATIENCE = 60.0
"""Seconds to wait for what must come; long, because the machine may be busy with other things."""


class Listening(abc.ABC):
    """Keeps everything it received, in order."""

    def __init__(self) -> None:
        self.received: list[Message] = []

    @abc.abstractmethod
    def _take(self, timeout: float) -> Message | None:
        """The next message; None where none came in time."""

    def next(self, timeout: float) -> Message | None:
        message = self._take(timeout)
        if message is not None:
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


def state_of(message: Message, identifier: str) -> Message | None:
    """The connection of that subscription in a state report."""
    if message["type"] != "stateReport":
        return None
    found = [
        camera for camera in message["cameraConnections"] if camera["subscriptionIdentifier"] == identifier
    ]
    return found[0] if found else None
