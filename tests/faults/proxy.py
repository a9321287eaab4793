"""A TCP proxy that does to a connection what networks do: delays, trickles, cuts, swallows, damages.

Faults are set while it runs and hold for every connection from then on, in the direction from the
server to the client (`damage`, `truncate`) or both (`latency`, `rate`, `black_hole`).
"""

import contextlib
import random
import socket
import threading
import time
from dataclasses import dataclass, field

CHUNK = 16384
LOOK_SEC = 0.05


@dataclass
class Faults:
    """What happens to bytes now; `none()` ends all of it."""

    latency_sec: float = 0.0
    rate: float | None = None
    """Bytes a second."""
    black_hole: bool = False
    """Nothing arrives any more, and nothing is closed."""
    truncate_after: int | None = None
    """Of each new connection the server's bytes after which it is cut."""
    flip_one_of: int | None = None
    """One bit of so many of the server's bytes, at random."""
    refuse: bool = False
    """New connections are closed at once."""
    seed: int = 1
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def damaged(self, data: bytes) -> bytes:
        if self.flip_one_of is None:
            return data
        out = bytearray(data)
        for _ in range(self._flips(len(data))):
            out[self.chance.randrange(len(out))] ^= 1 << self.chance.randrange(8)
        return bytes(out)

    def _flips(self, count: int) -> int:
        assert self.flip_one_of is not None
        whole, rest = divmod(count, self.flip_one_of)
        return whole + (self.chance.random() < rest / self.flip_one_of)


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and passes on to `port`. Use as a context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self.faults = Faults()
        self.connections = 0
        """Connections that were accepted so far."""
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def none(self) -> None:
        """No fault any more."""
        self.faults = Faults()

    def cut(self) -> None:
        """End all connections with a reset."""
        with self._lock:
            found = list(self._open)
        for one in found:
            with contextlib.suppress(OSError):
                # Linger of zero seconds: RST instead of FIN.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.faults.refuse:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), name="fault-link", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, 5)
        except OSError:
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        up = threading.Thread(target=self._pass, args=(client, server, False), daemon=True)
        up.start()
        self._pass(server, client, True)
        up.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pass(self, source: socket.socket, sink: socket.socket, downward: bool) -> None:
        """Bytes of one direction, until one side ends."""
        passed = 0
        source.settimeout(LOOK_SEC)
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                try:
                    data = source.recv(CHUNK)
                except TimeoutError:
                    continue
                if not data:
                    break
                data = self.faults.damaged(data) if downward else data
                limit = self.faults.truncate_after
                if downward and limit is not None and passed + len(data) >= limit:
                    sink.sendall(data[: max(0, limit - passed)])
                    break
                passed += len(data)
                self._hold_back(len(data))
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _hold_back(self, count: int) -> None:
        """Wait as long as the faults of each moment ask for; a black hole, until it is none any more."""
        began = time.monotonic()
        while not self._ended.is_set():
            faults = self.faults
            wait = max(faults.latency_sec, 0.0 if faults.rate is None else count / faults.rate)
            left = began + wait - time.monotonic()
            if left <= 0 and not faults.black_hole:
                return
            time.sleep(LOOK_SEC if faults.black_hole else min(LOOK_SEC, left))
