"""One file fetched over HTTP from an address that a stranger chose.

The name is resolved once and that address is used (a second answer could be another machine),
link-local addresses are refused, redirects are checked like the first address, and the whole
transfer has a deadline, which a server that sends a byte now and then cannot stretch.
"""

import base64
import contextlib
import hashlib
import http.client
import os
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urljoin, urlunsplit
from urllib.request import url2pathname

from siwatsystem import urls
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelDownloadFailed, ModelNotFound, ModelRefused
from siwatsystem.networks import addresses_of, is_forbidden, literal_ip

MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
NOT_THERE = (401, 403, 404, 410)
CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one state of a file on its server from another."""

    etag: str | None = None
    modified: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that has arrived: SHA-256 in hexadecimal, and whether the server had said its length."""

    digest: str
    version: Version
    length_known: bool


def bare_url(url: str) -> str:
    """`url` as it may be shown."""
    return urls.bare(url)


class Download:
    """One transfer, to be run once; `cancel` ends it from another thread."""

    def __init__(self, url: str, target: Path, settings: ModelSettings, allow_file: bool = False) -> None:
        self._url = url
        self._target = target
        self._settings = settings
        self._allow_file = allow_file or settings.allow_file
        self._limit = settings.max_archive_mb << 20
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over: str | None = None
        self.version: Version | None = None
        """What the server said of the file, once it did."""

    def run(self, known: Version | None = None) -> Fetched | None:
        """Write the file to the target; None, with nothing written, where it is still `known`.

        Blocks. Raises ModelDownloadFailed (passing), ModelNotFound (401, 403, 404, 410),
        ModelRefused (an address or a size that is not allowed).
        """
        parts = _split(self._url)
        if parts.scheme == "file":
            return self._copy_local(parts, known)
        seconds = self._settings.download_timeout_sec
        timer = threading.Timer(seconds, self.cancel, (f"took longer than {seconds:g} s",))
        timer.name = "download-deadline"
        timer.start()
        try:
            return self._follow(parts, known)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = self._over or str(error) or type(error).__name__
            raise ModelDownloadFailed(f"{bare_url(self._url)}: {reason}") from None
        finally:
            timer.cancel()
            timer.join()

    def cancel(self, reason: str = "was cancelled") -> None:
        """End the transfer; `run` raises ModelDownloadFailed."""
        with self._lock:
            self._over = self._over or reason
            if self._socket is not None:
                # Not the TLS socket's own shutdown, which drops its state under the reader.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _follow(self, parts: SplitResult, known: Version | None) -> Fetched | None:
        login = _login(parts)
        for _ in range(MAX_REDIRECTS + 1):
            connection = self._connect(parts)
            try:
                connection.request("GET", _path(parts), headers=_headers(login, known))
                with connection.getresponse() as response:
                    if response.status not in REDIRECTS:
                        return self._receive(response, known)
                    target = _split(urljoin(urlunsplit(parts), response.getheader("Location") or ""))
            finally:
                connection.close()
                with self._lock:
                    self._socket = None
            if target.scheme == "file" or (parts.scheme == "https" and target.scheme != "https"):
                raise ModelRefused(f"{bare_url(self._url)} leads on to an address that is not allowed")
            if target.hostname != parts.hostname or target.port != parts.port:
                login = _login(target)
            parts = target
        raise ModelDownloadFailed(f"{bare_url(self._url)}: more than {MAX_REDIRECTS} redirects")

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        host, secure = str(parts.hostname), parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        hosts = [name.lower().rstrip(".") for name in self._settings.hosts]
        if hosts and host.lower().rstrip(".") not in hosts:
            raise ModelRefused(f"archives may not be fetched from {host}")
        connection = http.client.HTTPConnection(host, port)
        # The Host header leaves out a scheme's own port.
        connection.default_port = 443 if secure else 80
        link = self._dial(_resolve(host, port, self._settings.connect_timeout_sec), port)
        try:
            if secure:
                link = ssl.create_default_context().wrap_socket(
                    link, server_hostname=host, do_handshake_on_connect=False
                )
            self._take(link)
            if isinstance(link, ssl.SSLSocket):
                link.do_handshake()
        except BaseException:
            link.close()
            raise
        link.settimeout(self._settings.download_timeout_sec)
        connection.sock = link
        return connection

    def _dial(self, addresses: list[str], port: int) -> socket.socket:
        error: OSError | None = None
        for address in addresses:
            if self._over is not None:
                raise OSError(self._over)
            try:
                return socket.create_connection((address, port), self._settings.connect_timeout_sec)
            except OSError as failed:
                error = failed
        raise error or OSError("has no address")

    def _take(self, link: socket.socket) -> None:
        """Have `cancel` end `link`, too late or not."""
        with self._lock:
            self._socket = link
            if self._over is not None:
                raise OSError(self._over)

    def _receive(self, response: http.client.HTTPResponse, known: Version | None) -> Fetched | None:
        name, status = bare_url(self._url), response.status
        if status == 304 and known is not None:
            return None
        if status in NOT_THERE:
            raise ModelNotFound(f"{name}: the server answers {status}")
        if status != 200:
            raise ModelDownloadFailed(f"{name}: the server answers {status}")
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise ModelDownloadFailed(f"{name}: the server sends it in another encoding than asked for")
        length = response.length
        version = Version(response.getheader("ETag"), response.getheader("Last-Modified"), length)
        self.version = version
        if known is not None and _same(known, version):
            return None
        if length is not None and length > self._limit:
            raise ModelRefused(f"{name} is larger than {self._settings.max_archive_mb} MB")
        digest, size = self._save(response)
        if length is not None and size != length:
            raise ModelDownloadFailed(f"{name}: cut after {size} of {length} bytes ({self._over or 'lost'})")
        version = Version(version.etag, version.modified, size)
        return Fetched(digest, version, length is not None or response.chunked)

    def _save(self, source: "http.client.HTTPResponse | BinaryIO") -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        read = source.read1 if isinstance(source, http.client.HTTPResponse) else source.read
        with self._target.open("wb") as file:
            while chunk := read(CHUNK):
                size += len(chunk)
                if size > self._limit:
                    raise ModelRefused(
                        f"{bare_url(self._url)} is larger than {self._settings.max_archive_mb} MB"
                    )
                digest.update(chunk)
                file.write(chunk)
                if self._over is not None:
                    raise ModelDownloadFailed(f"{bare_url(self._url)}: {self._over}")
            file.flush()
            os.fsync(file.fileno())
        if self._over is not None:
            raise ModelDownloadFailed(f"{bare_url(self._url)}: {self._over}")
        return digest.hexdigest(), size

    def _copy_local(self, parts: SplitResult, known: Version | None) -> Fetched | None:
        name = bare_url(self._url)
        if not self._allow_file:
            raise ModelRefused(f"{name}: file addresses are not allowed")
        if parts.netloc not in ("", "localhost"):
            raise ModelRefused(f"{name}: is on another machine")
        path = Path(url2pathname(parts.path))
        if not path.is_file():
            raise ModelNotFound(f"{name}: there is no such file")
        try:
            state = path.stat()
            version = Version(f"{state.st_mtime_ns}-{state.st_size}", None, state.st_size)
            if known is not None and known.etag == version.etag:
                return None
            with path.open("rb") as file:
                digest, _ = self._save(file)
        except OSError as error:
            raise ModelDownloadFailed(f"{name}: {error.strerror}") from None
        return Fetched(digest, version, True)


def _split(url: str) -> SplitResult:
    try:
        parts = urls.split(url)
    except ValueError as error:
        raise ModelRefused(f"the archive's address is none: {error}") from None
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise ModelRefused("the archive's address holds a blank or control character")
    if parts.scheme not in ("http", "https", "file") or (parts.scheme != "file" and not parts.hostname):
        raise ModelRefused(f"archives are fetched from http and https addresses, not from {bare_url(url)!r}")
    return parts


def _resolve(host: str, port: int, timeout: float) -> list[str]:
    """Addresses of `host`, in the resolver's order. Raises ModelRefused if one is not allowed, OSError."""
    found = addresses_of(host, port, timeout)
    for address in found:
        ip = literal_ip(address)
        if ip is None or is_forbidden(ip):
            raise ModelRefused(f"archives may not be fetched from {host}, whose address is {address}")
    return found


def _path(parts: SplitResult) -> str:
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return "".join(letter if letter.isascii() else _quoted(letter) for letter in path)


def _quoted(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode())


def _login(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _headers(login: str | None, known: Version | None) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "siwatsystem"}
    if login is not None:
        headers["Authorization"] = login
    if known is not None and known.etag is not None:
        headers["If-None-Match"] = known.etag
    elif known is not None and known.modified is not None:
        headers["If-Modified-Since"] = known.modified
    return headers


def _same(known: Version, now: Version) -> bool:
    """Whether a full answer is what is known already: the best that both sides tell."""
    if known.etag is not None and now.etag is not None:
        return known.etag == now.etag
    if known.modified is not None and now.modified is not None:
        return known.modified == now.modified and known.size == now.size
    return known.size is not None and known.size == now.size
