"""The backends of a soak: one that reads everything at once, and one that comes and goes."""

import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.faults.records import Told

Message = dict[str, Any]


class Backend:
    """Subscribes its cameras, begins a visit at each every `visit_sec`, and reads on a thread of its own.

    A connection that the worker ends is counted (`closed`) and made anew.
    """

    def __init__(self, port: int, cameras: Mapping[str, Message], visit_sec: float = 10.0) -> None:
        self._port = port
        self._cameras = cameras
        self._visit_sec = visit_sec
        self._socket: ClientConnection | None = None
        self._visits = 0
        self.told = Told()
        self.counts: Counter[str] = Counter()
        """Messages by type."""
        self.errors: deque[Message] = deque(maxlen=200)
        self.closed = 0
        self.delays: deque[float] = deque(maxlen=1000)
        """Seconds from the capture of a frame to its detection, of the newest detections."""
        self.online: set[str] = set()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("backend", self._read), ("visits", self._visit))
        ]

    def __enter__(self) -> "Backend":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._socket is not None:
            self._socket.close()
        for thread in self._threads:
            thread.join(15)

    def send(self, message: Message) -> None:
        """Send, or not where there is no connection now."""
        if self._socket is not None:
            with suppress(WebSocketException, OSError):
                self._socket.send(json.dumps(message))

    def begin_visits(self) -> None:
        """A new session at each display."""
        self._visits += 1
        for number, identifier in enumerate(sorted(self._cameras)):
            session = self._visits * len(self._cameras) + number
            payload = {"displayIdentifier": identifier.partition(";")[0], "sessionId": session}
            self.send({"type": "setSessionId", "payload": payload})

    def unsubscribe(self) -> None:
        """End all subscriptions; nothing is told after that."""
        for identifier in self._cameras:
            self.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": identifier}})

    def _visit(self) -> None:
        while not self._ended.wait(self._visit_sec):
            self.begin_visits()

    def _read(self) -> None:
        while not self._ended.is_set():
            with suppress(WebSocketException, OSError), _connected(self._port) as self._socket:
                for identifier, payload in self._cameras.items():
                    self.send(subscribe(identifier, payload))
                self.begin_visits()
                for text in self._socket:
                    self._note(json.loads(text))
            self.closed += not self._ended.is_set()
            self._ended.wait(0.5)

    def _note(self, message: Message) -> None:
        kind = message["type"]
        self.counts[kind] += 1
        if kind == "imageDetection":
            self.told.note(message)
            captured = datetime.fromisoformat(message["timestamp"]).timestamp()
            self.delays.append(time.time() - captured)
        elif kind == "stateReport":
            cameras = message["cameraConnections"]
            self.online = {one["subscriptionIdentifier"] for one in cameras if one["online"]}
        elif kind == "error":
            self.errors.append(message)
        elif kind == "patchSession":
            payload = {"sessionId": message["sessionId"], "success": True, "message": ""}
            self.send({"type": "patchSessionResult", "payload": payload})


class Guest:
    """Connects, subscribes one of some cameras, reads for a while, and goes, with or without a word."""

    def __init__(self, port: int, cameras: Sequence[Message], chance: random.Random) -> None:
        self._port = port
        self._cameras = cameras
        self._chance = chance
        self.visits = 0
        self._rests = threading.Event()
        self._away = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="guest", daemon=True)

    def __enter__(self) -> "Guest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(15)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """It does not visit meanwhile."""
        self._rests.set()
        with self._away:
            yield
        self._rests.clear()

    def _go_on(self) -> None:
        while not self._ended.wait(self._chance.uniform(1, 8)):
            with self._away, suppress(WebSocketException, OSError), _connected(self._port) as socket:
                self._visit(socket)
            self.visits += 1

    def _visit(self, socket: ClientConnection) -> None:
        identifier = f"guest-{self.visits};cam"
        socket.send(json.dumps(subscribe(identifier, self._chance.choice(self._cameras))))
        until = time.monotonic() + self._chance.uniform(2, 15)
        while (
            (left := until - time.monotonic()) > 0 and not self._ended.is_set() and not self._rests.is_set()
        ):
            with suppress(TimeoutError):
                socket.recv(timeout=min(left, 0.5))
        if self._chance.random() < 0.5:
            socket.send(
                json.dumps({"type": "unsubscribe", "payload": {"subscriptionIdentifier": identifier}})
            )


def subscribe(identifier: str, payload: Message) -> Message:
    return {"type": "subscribe", "payload": {"subscriptionIdentifier": identifier, **payload}}


def _connected(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/", compression=None, open_timeout=20, max_size=None)
