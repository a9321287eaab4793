"""A client that takes what the worker sends for a while, and then nothing any more."""

import base64
import os
import socket
import struct
import time
from pathlib import Path


class StuckClient:
    """A WebSocket on a socket with a small buffer: it sends, and reads only when it is told to."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(10)
        self._socket.connect(("127.0.0.1", port))
        self._server_port, self._own_port = port, self._socket.getsockname()[1]
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101" in self._socket.recv(64)
        self._stopped_at = time.monotonic()

    def __enter__(self) -> "StuckClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, text: str) -> None:
        """One text message, masked as RFC 6455 asks of clients."""
        data = text.encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
        self._socket.sendall(b"\x81" + size + b"\0\0\0\0" + data)

    def read(self, seconds: float) -> int:
        """Take what comes for so long, as a client that is well. Returns how many bytes that was."""
        until, taken = time.monotonic() + seconds, 0
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                taken += len(self._socket.recv(65536))
            except TimeoutError:
                break
        self._stopped_at = time.monotonic()
        return taken

    def held(self) -> int:
        """Bytes that the server's side of the connection holds in the kernel."""
        return self._queue()[1]

    @property
    def connected(self) -> bool:
        """Whether the server still holds the connection open."""
        return self._queue()[0]

    def wait_cut(self, timeout: float) -> tuple[float, int]:
        """Seconds from the last byte it took until the server has cut it, and the most bytes that the
        kernel held meanwhile."""
        most = self.held()
        while self.connected:
            most = max(most, self.held())
            assert time.monotonic() - self._stopped_at < timeout, f"not cut within {timeout:.0f} s"
            time.sleep(0.02)
        return time.monotonic() - self._stopped_at, most

    def _queue(self) -> tuple[bool, int]:
        """Of the server's end: whether it is established, and its send queue."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            local, remote = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
            if (local, remote) == (self._server_port, self._own_port):
                return fields[3] == "01", int(fields[4].partition(":")[0], 16)
        return False, 0
