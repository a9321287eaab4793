"""Redirects of RTSP cameras: FFmpeg is kept from following them, we do under the rules for addresses.

FFmpeg goes wherever a `3xx` answer says, past all rules, and takes the password along. It leaves its
connection for that, and asks whether it shall go on before it sends anything on another one.
"""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamRefused, StreamUnreachable
from siwatsystem.networks import IPAddress, literal_ip
from siwatsystem.streams.address import Address, parse_address
from siwatsystem.streams.cutoff import Cutoff

MOST_BYTES = 16384
"""Of an answer's head that are read."""
_LOOK_SEC = 0.02
_DESCRIPTORS = Path("/proc/self/fd")

_lock = threading.Lock()
_connecting: set[tuple[str, int]] = set()
"""Servers to which a connection is being opened: it could not be told from a second one."""


class OneConnection:
    """Watches that a call of FFmpeg opens a connection to one of `ips`, and leaves it for no other."""

    def __init__(self, ips: Sequence[str], port: int, connected: Callable[[], None]) -> None:
        self._ips: set[IPAddress] = {ip_address(ip) for ip in ips}
        self._port = port
        self._connected = connected
        self._before = {inode for _, inode in _sockets()}
        self._own: tuple[int, int] | None = None
        self.left = False
        """Whether the connection was left."""

    def leaves(self) -> bool:
        """Whether FFmpeg is to stop; asked by its own thread whenever it is about to wait, read or write."""
        if self._own is None:
            self._own = self._find()
            if self._own is not None:
                self._connected()
        elif not self.left and not _is_there(*self._own):
            # Of several addresses that are tried at once, those that are late are closed.
            another = self._find() if len(self._ips) > 1 else None
            self._own = another or self._own
            self.left = another is None
        return self.left

    @property
    def kept(self) -> bool:
        """Whether it has the one connection that it should."""
        if not _DESCRIPTORS.is_dir():
            return not self.left  # not Linux: it cannot be told
        return self._own is not None and not self.left and _is_there(*self._own)

    def _find(self) -> tuple[int, int] | None:
        for descriptor, inode in _sockets():
            if inode not in self._before and self._leads_there(descriptor):
                return descriptor, inode
        return None

    def _leads_there(self, descriptor: int) -> bool:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
            if one.type == socket.SOCK_STREAM and one.family in (socket.AF_INET, socket.AF_INET6):
                ip, port = one.getpeername()[:2]
                return port == self._port and literal_ip(ip) in self._ips
        return False


@contextmanager
def one_connection(
    ips: Sequence[str], port: int, wait_sec: float, cutoff: Cutoff
) -> Generator[OneConnection]:
    """A watch over the next connection to one of `ips`; others to there have to wait until it is made.

    Raises StreamUnreachable where another one takes longer than `wait_sec` to be made.
    """
    end = (ips[0], port)
    until = time.monotonic() + wait_sec
    while not _takes(end):
        if cutoff.wait(_LOOK_SEC) or time.monotonic() > until:
            raise StreamUnreachable(cutoff.reason or "the camera does not accept connections in time")

    def let_go() -> None:
        nonlocal end
        with _lock:
            _connecting.discard(end)
            end = ("", 0)

    try:
        yield OneConnection(ips, port, let_go)
    finally:
        let_go()


def redirected(address: Address, ip: str, settings: StreamSettings, cutoff: Cutoff) -> Address:
    """Where the camera at `address` (its IP address: `ip`) sends those who ask for it.

    The user and password stay with the host they were given for. Raises StreamError where the answer is no
    redirect, or one to an address that must not be opened.
    """
    if address.scheme != "rtsp":
        raise StreamRefused("the camera redirects; subscribe the address it redirects to")
    seconds = settings.read_timeout_sec
    with cutoff.limit(seconds, f"no answer within {seconds:g} s"):
        head = _describe(address, ip, settings, cutoff)
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    if not lines[0].startswith("RTSP/1.0 3") or not fields.get("location"):
        raise StreamUnreachable(
            "the camera redirects only now and then; subscribe the address it redirects to"
        )
    found = parse_address(fields["location"], settings)
    if found.scheme not in ("rtsp", "rtsps"):
        raise StreamRefused(f"the camera redirects to a {found.scheme} address")
    same = (found.scheme, found.host, found.port) == (address.scheme, address.host, address.port)
    return replace(found, user=address.user if same else None, password=address.password if same else None)


def _describe(address: Address, ip: str, settings: StreamSettings, cutoff: Cutoff) -> bytes:
    """The head of the camera's answer to DESCRIBE, without a login."""
    request = (
        f"DESCRIBE {address.url(credentials=False)} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    )
    head = b""
    try:
        with socket.create_connection((ip, address.port), settings.connect_timeout_sec) as line:
            detach = cutoff.attach(lambda: line.shutdown(socket.SHUT_RDWR))
            try:
                line.sendall(request.encode())
                while b"\r\n\r\n" not in head and len(head) < MOST_BYTES and (more := line.recv(4096)):
                    head += more
            finally:
                detach()
    except OSError:
        raise StreamUnreachable(cutoff.reason or "the camera does not answer in time") from None
    return head.partition(b"\r\n\r\n")[0][:MOST_BYTES]


def _takes(end: tuple[str, int]) -> bool:
    with _lock:
        if end in _connecting:
            return False
        _connecting.add(end)
        return True


def _sockets() -> list[tuple[int, int]]:
    """Descriptors of this process's sockets, with what tells them from others of the same number."""
    found: list[tuple[int, int]] = []
    try:
        entries = list(_DESCRIPTORS.iterdir())
    except OSError:  # not Linux, or no descriptor is left
        return found
    for entry in entries:
        with suppress(OSError):
            status = os.fstat(int(entry.name))
            if stat.S_ISSOCK(status.st_mode):
                found.append((int(entry.name), status.st_ino))
    return found


def _is_there(descriptor: int, inode: int) -> bool:
    with suppress(OSError):
        return os.fstat(descriptor).st_ino == inode
    return False
