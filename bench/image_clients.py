"""Clients that ask one URL for its image again and again, each on a connection that stays open.

    python -m bench.image_clients http://127.0.0.1:5000/camera/a%3Bb/image PID [--clients 200] [--seconds 5]

A process of its own, so that the server's processor time is what limits. Only an answer's head is looked
at; its body is thrown away by the kernel (`MSG_TRUNC`), which costs no copy. PID is the server's process,
whose main thread (the event loop) is timed over the same stretch. Prints one line of JSON.
"""

import json
import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

CHUNK = 1 << 20
HEAD_BYTES = 4096
CAPTURED_AT = b"x-captured-at"


@dataclass
class Tally:
    """What the clients were answered: `frames` counts answers by `X-Captured-At`."""

    answers: int = 0
    bytes: int = 0
    errors: int = 0
    frames: Counter[str] = field(default_factory=Counter[str])


class Client:
    """One connection: asks, reads the whole answer, asks again."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._head = b""
        self._left = 0

    def ask(self) -> None:
        self._head = b""
        self.socket.sendall(self._request)

    def read(self, scratch: bytearray, tally: Tally) -> bool:
        """Take what came; whether the answer is complete. Raises OSError when the server hung up."""
        if self._left:
            self._left -= self._discard(scratch)
            return self._left == 0
        data = self.socket.recv(HEAD_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        if not found:
            return False
        status, *lines = head.split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        length = int(headers[b"content-length"])
        self._left = length - len(body)
        if b" 200 " in status:
            tally.answers += 1
            tally.bytes += length
            tally.frames[headers.get(CAPTURED_AT, b"").decode()] += 1
        else:
            tally.errors += 1
        return self._left == 0

    def _discard(self, scratch: bytearray) -> int:
        size = self.socket.recv_into(scratch, min(self._left, CHUNK), socket.MSG_TRUNC)
        if not size:
            raise ConnectionError("the server closed the connection")
        return size


def load(url: str, pid: int, clients: int, seconds: float, settle: float = 0.5) -> dict[str, Any]:
    """Ask for `seconds` with that many clients, after `settle` seconds that only `frames`
    counts, as it does what was still asked for at the end."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: image/jpeg\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    asking = [Client(host, port, request) for _ in range(clients)]
    for client in asking:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()
    scratch = bytearray(CHUNK)
    _run(selector, scratch, time.monotonic() + settle, settling := Tally())
    tally = Tally()
    began, cpu, loop = time.monotonic(), time.process_time(), main_thread_seconds(pid)
    _run(selector, scratch, began + seconds, tally)
    took, spent, looped = time.monotonic() - began, time.process_time() - cpu, main_thread_seconds(pid) - loop
    _finish(selector, scratch, last := Tally())
    for client in asking:
        client.socket.close()
    return {
        "per_sec": tally.answers / took,
        "loop_ms": 1000 * looped / max(1, tally.answers),
        "loop_busy": looped / took,
        "clients_busy": spent / took,
        "body_bytes": tally.bytes / max(1, tally.answers),
        "frames": len(settling.frames | tally.frames | last.frames),
        "errors": settling.errors + tally.errors,
    }


def _finish(selector: selectors.BaseSelector, scratch: bytearray, tally: Tally) -> None:
    """Take the answers that are still to come."""
    until = time.monotonic() + 10
    while selector.get_map() and time.monotonic() < until:
        for key, _ in selector.select(0.1):
            client: Client = key.data
            if client.read(scratch, tally):
                selector.unregister(client.socket)


def main_thread_seconds(pid: int) -> float:
    """Processor time of the process's main thread so far."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def _run(selector: selectors.BaseSelector, scratch: bytearray, until: float, tally: Tally) -> None:
    while time.monotonic() < until:
        for key, _ in selector.select(0.1):
            client: Client = key.data
            if client.read(scratch, tally):
                client.ask()


def main(
    url: Annotated[str, typer.Argument(help="What to ask for")],
    pid: Annotated[int, typer.Argument(help="The server's process")],
    clients: Annotated[int, typer.Option(min=1, help="Connections")] = 200,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to count")] = 5.0,
) -> None:
    """Ask, count, print."""
    print(json.dumps(load(url, pid, clients, seconds)))


if __name__ == "__main__":
    typer.run(main)
