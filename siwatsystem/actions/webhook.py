"""Messages into one receiver by HTTP POST, signed as Standard Webhooks has it.

The connection is kept for the next message. It leads to the address that was checked, follows no
redirect, and no message takes longer than the time-out, which a receiver that sends a byte now and then
cannot stretch.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Generator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from siwatsystem import __version__
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.receivers import key_for, signature
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionRefused, TargetUnavailable

_MOST_ANSWER = 1 << 16
_PASSING = (408, 425, 429)
"""Refusals that say: later."""
_STALE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class WebhookSink:
    """Carries out `webhook`; used by one thread."""

    def __init__(self, config: Mapping[str, Any], address: str, settings: OutboxSettings) -> None:
        """`address`: the checked IP of the receiver's host. Raises TargetUnavailable where messages are to be
        signed and there is no secret."""
        parts = urlsplit(config["url"])
        self._host, self._port = config["host"], config["port"]
        self._secure = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._address = address
        self._key = key_for(config, settings)
        self._limit = settings.webhook_timeout_sec
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._late = False
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, job: StoredJob) -> None:
        """Post the message. Raises TargetUnavailable, ActionRefused."""
        body = job.payload["message"].encode()
        try:
            with self._in_time():
                status = self._post(body, self._headers(job.key, body))
        except (OSError, http.client.HTTPException) as error:
            self._hang_up()
            raise TargetUnavailable(self._trouble(error)) from None
        if 200 <= status < 300:
            return
        words = _words(status)
        if status in _PASSING or status >= 500:
            raise TargetUnavailable(f"it answers {words}")
        more = "; redirects are not followed" if status < 400 else ""
        raise ActionRefused(f"it answers {words}{more}", f"status {status}")

    def close(self) -> None:
        """Close the connection."""
        self._hang_up()

    def cut(self) -> None:
        """Shut the connection down under a call that hangs."""
        with self._lock, contextlib.suppress(OSError):
            self._late = True
            if self._link is not None:
                # Not the TLS socket's own shutdown, which drops its state under the reader.
                socket.socket.shutdown(self._link, socket.SHUT_RDWR)

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = int(time.time())
        headers = {
            "Content-Type": _content_type(body),
            "User-Agent": f"siwatsystem/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message_id, now, body)
        return headers

    def _trouble(self, error: Exception) -> str:
        if self._late or isinstance(error, TimeoutError):  # the socket has the same limit
            return f"no answer within {self._limit:g} s"
        if isinstance(error, OSError):
            return str(error) or type(error).__name__
        # The library quotes the answer, which may quote the address or more.
        return "its answer is no HTTP"

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        kept = self._connection
        if kept is not None and kept.sock is not None:
            try:
                return self._exchange(kept, body, headers)
            except _STALE:
                # The receiver closed it while nothing was said; an answer that is late is not asked again.
                if self._late:
                    raise
        return self._exchange(self._connect(), body, headers)

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> int:
        connection.request("POST", self._path, body, headers)
        with connection.getresponse() as response:
            # The status says it all; what comes after is read only to keep the connection.
            try:
                left = len(response.read(_MOST_ANSWER + 1)) > _MOST_ANSWER
            except (OSError, http.client.HTTPException):
                left = True
        if left:
            self._hang_up()
        return response.status

    def _connect(self) -> http.client.HTTPConnection:
        self._hang_up()
        connection = http.client.HTTPConnection(self._host, self._port)
        # The Host header leaves out a scheme's own port, and no name is ever resolved here.
        connection.default_port = 443 if self._secure else 80
        connection.auto_open = 0
        link = socket.create_connection((self._address, self._port), self._limit)
        try:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._secure:
                context = ssl.create_default_context()
                link = context.wrap_socket(link, server_hostname=self._host, do_handshake_on_connect=False)
            with self._lock:
                self._link = link
                if self._late:
                    raise TimeoutError
            if isinstance(link, ssl.SSLSocket):
                link.do_handshake()
        except BaseException:
            link.close()
            raise
        connection.sock = link
        self._connection = connection
        return connection

    @contextlib.contextmanager
    def _in_time(self) -> Generator[None]:
        self._late = False
        timer = threading.Timer(self._limit, self.cut)
        timer.name = "webhook-deadline"
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _hang_up(self) -> None:
        with self._lock:
            link, self._link = self._link, None
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if link is not None:
            link.close()


def _content_type(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


def _words(status: int) -> str:
    """Not the phrase that it sent, which may be anything."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
