"""HTTP to cameras: checked addresses, redirects followed by hand, authentication from the address."""

import contextlib
import socket
import threading
from typing import Any
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth
from urllib3.connection import HTTPConnection, HTTPSConnection

from siwatsystem.config import StreamSettings
from siwatsystem.errors import (
    StreamError,
    StreamNotFound,
    StreamRefused,
    StreamUnauthorized,
    StreamUnreachable,
)
from siwatsystem.streams.address import Address, parse_address
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.resolve import resolve

_REDIRECTS = 3


class CameraHttp:
    """A session with one camera; connections are kept alive between requests."""

    def __init__(self, settings: StreamSettings, cutoff: Cutoff) -> None:
        self._settings = settings
        self._cutoff = cutoff
        self._auth: AuthBase | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        # What a cache on the way has kept is no picture of now.
        self._session.headers.update({"Cache-Control": "no-cache", "Pragma": "no-cache"})
        self._session.verify = settings.verify_certificates
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(settings, cutoff))

    def get(self, address: Address) -> requests.Response:
        """A response with status 200, its body not read yet. Raises StreamError."""
        camera = address
        for _ in range(_REDIRECTS + 1):
            response = self._authorised(address, trusted=(address.host, address.port) == _end(camera))
            if not response.is_redirect:
                return _checked(response)
            response.close()
            there = urljoin(address.url(credentials=False), response.headers["location"])
            address = self._redirected(there, camera)
        raise StreamUnreachable(f"the camera redirects more than {_REDIRECTS} times")

    def close(self) -> None:
        self._session.close()

    def _redirected(self, url: str, camera: Address) -> Address:
        found = parse_address(url, self._settings)
        if found.scheme not in ("http", "https"):
            raise StreamRefused(f"the camera redirects to a {found.scheme} address")
        return Address(found.scheme, found.host, found.port, found.target, camera.user, camera.password)

    def _authorised(self, address: Address, *, trusted: bool) -> requests.Response:
        response = self._request(address, self._auth if trusted else None)
        if response.status_code != 401 or address.user is None or not trusted:
            return response
        response.close()
        challenge = response.headers.get("www-authenticate", "").lower()
        if "digest" in challenge:
            self._auth = _Digest(address.user, address.password or "")
        else:
            self._auth = HTTPBasicAuth(address.user.encode(), (address.password or "").encode())
        return self._request(address, self._auth)

    def _request(self, address: Address, auth: AuthBase | None) -> requests.Response:
        timeouts = (self._settings.connect_timeout_sec, self._settings.read_timeout_sec)
        url = address.url(credentials=False)
        try:
            return self._session.get(url, auth=auth, stream=True, timeout=timeouts, allow_redirects=False)
        except StreamError:
            raise
        except requests.RequestException as error:
            raise http_error(error, self._cutoff) from None


class _Digest(HTTPDigestAuth):
    def handle_401(self, r: requests.Response, **kwargs: Any) -> requests.Response:
        # Called for every answer. The library would read a refusal's whole body, however large.
        if r.status_code == 401:
            r.close()
        return super().handle_401(r, **kwargs)


class _Adapter(HTTPAdapter):
    """Connects where the name was checked to lead, through sockets that the cutoff can end."""

    def __init__(self, settings: StreamSettings, cutoff: Cutoff) -> None:
        self._settings = settings
        self._cutoff = cutoff
        self._line = Line()
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        connect = self._connect

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self)

        class Tls(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain  # pyright: ignore[reportAssignmentType]

        class TlsPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Tls  # pyright: ignore[reportAssignmentType]

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}

    def close(self) -> None:
        super().close()
        self._line.close()

    def _connect(self, connection: HTTPConnection) -> socket.socket:
        ip = resolve(connection.host, self._settings, self._cutoff)
        self._line.close()
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        found = socket.socket(family, socket.SOCK_STREAM)
        self._line = Line(found, self._cutoff)
        try:
            found.settimeout(self._settings.connect_timeout_sec)
            found.connect((ip, connection.port))
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            found.close()
            raise StreamUnreachable(_connect_text(error)) from None
        return found


class Line:
    """A second descriptor of a connection, with which the cutoff shuts it down.

    shutdown() acts on the connection, whichever descriptor it is called on: this one still does
    after TLS, or a response that outlives its connection, has taken the first one over.
    """

    def __init__(self, original: socket.socket | None = None, cutoff: Cutoff | None = None) -> None:
        # Without the lock a descriptor closed meanwhile could be another connection's by now.
        self._lock = threading.Lock()
        self._socket = original.dup() if original is not None else None
        self._detach = cutoff.attach(self.shut_down) if cutoff is not None else None

    def shut_down(self) -> None:
        """End reads, writes and a connect under way; from any thread."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._detach is not None:
            self._detach()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def _end(address: Address) -> tuple[str, int]:
    return address.host, address.port


def _connect_text(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, TimeoutError):
        return "the camera does not accept connections in time"
    return f"no connection to the camera ({error.strerror})"


def http_error(error: Exception, cutoff: Cutoff) -> StreamError:
    """What a failed request or read means, without the address that libraries put into theirs."""
    if cutoff.reason is not None:
        return StreamUnreachable(cutoff.reason)
    if isinstance(error, requests.exceptions.SSLError):
        return StreamUnreachable("the camera's certificate is not trusted (streams.verify_certificates)")
    if isinstance(error, requests.Timeout | TimeoutError | urllib3.exceptions.TimeoutError):
        return StreamUnreachable("the camera does not answer in time")
    return StreamUnreachable("the camera's answer broke off or is no HTTP")


def _checked(response: requests.Response) -> requests.Response:
    status = response.status_code
    if status == 200:
        return response
    response.close()
    if status in (401, 403):
        raise StreamUnauthorized
    if status in (404, 410):
        raise StreamNotFound
    raise StreamUnreachable(f"the camera answers with status {status}")
