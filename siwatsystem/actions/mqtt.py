"""Messages into one MQTT broker, each acknowledged (quality of service 1) before it counts as sent.

The connection is kept; no thread serves it in between. So it asks for no keep-alive of the protocol, the
kernel looks after it instead, and one that the broker closed meanwhile is noticed before the next message.
"""

import contextlib
import secrets
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from siwatsystem.actions.jobs import StoredJob
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionFailed, ActionRefused, TargetUnavailable

_OVERHEAD = 16
"""Bytes of a message beside its topic and payload, at most."""
_PASSING = (0x97,)
"""Quota exceeded: the broker takes it later."""
_BLAMED = (0x82, 0x87, 0x90, 0x95, 0x99)
"""Reasons that a broker ends a connection for which blame the message: no MQTT, not authorized, topic name
invalid, packet too large, payload format invalid."""


class MqttSink:
    """Carries out `mqtt_publish`; used by one thread."""

    def __init__(self, config: Mapping[str, Any], address: str, settings: OutboxSettings) -> None:
        """`address`: the checked IP of the broker's host."""
        self._config = config
        self._address = address
        self._limit = settings.broker_timeout_sec
        self._client: mqtt.Client | None = None
        self._outcome: ReasonCode | None = None
        """What the broker said of the connection, then of the message; None until it has."""
        self._ended: ReasonCode | None = None
        """Why the broker ended the connection."""
        self._most = 0
        """Largest message that the broker takes, in bytes; 0: it did not say."""

    def deliver(self, job: StoredJob) -> None:
        """Publish the message and wait for the broker to have it. Raises TargetUnavailable, ActionFailed."""
        topic, message = job.payload["topic"], job.payload["message"].encode()
        try:
            client = self._connected()
            size = len(topic.encode()) + len(message) + _OVERHEAD
            if self._most and size > self._most:
                raise ActionRefused(f"the broker takes messages up to {self._most} bytes, this has {size}")
            self._outcome = None
            try:
                client.publish(topic, message, qos=1, retain=job.payload["retain"])
            except ValueError as error:
                raise ActionRefused(f"it cannot be sent: {error}") from None
            said = self._answer(client)
        except (OSError, ValueError) as error:
            self._drop()
            raise TargetUnavailable(str(error) or type(error).__name__) from None
        if said.value in _PASSING:
            raise TargetUnavailable(f"the broker says: {said}")
        if said.is_failure:
            raise ActionFailed(f"the broker says: {said}")

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def cut(self) -> None:
        """Shut the connection down under a call that hangs."""
        link = None if self._client is None else self._client.socket()
        if link is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(link, socket.SHUT_RDWR)  # pyright: ignore[reportArgumentType]

    def _connected(self) -> mqtt.Client:
        if self._client is not None:
            self._serve(self._client, 0.0)
            if self._client.socket() is not None:
                return self._client
            self._drop()
        self._client = client = self._made()
        self._outcome = self._ended = None
        # 0 seconds: nobody would send what keeps it alive.
        client.connect(self._address, self._config["port"], keepalive=0)
        link = client.socket()
        if link is not None:
            _keep_alive(link)
        said = self._answer(client)
        if said.is_failure:
            raise TargetUnavailable(f"the broker refuses the connection: {said}")
        return client

    def _made(self) -> mqtt.Client:
        config = self._config
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"siwat-{secrets.token_hex(6)}",
            protocol=mqtt.MQTTv5 if config["version"] == "5" else mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._limit
        if config["username"] is not None:
            client.username_pw_set(config["username"], config["password"])
        if config["tls"]:
            client.tls_set_context(_NamedContext(config["host"], self._limit))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _on_connect(
        self, client: mqtt.Client, data: Any, flags: Any, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._outcome = code
        self._most = getattr(properties, "MaximumPacketSize", 0)

    def _on_publish(
        self, client: mqtt.Client, data: Any, mid: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._outcome = code

    def _on_disconnect(
        self,
        client: mqtt.Client,
        data: Any,
        flags: mqtt.DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._ended = code if flags.is_disconnect_packet_from_server else None

    def _answer(self, client: mqtt.Client) -> ReasonCode:
        """What the broker says, once it does. Raises TargetUnavailable, ActionFailed."""
        deadline = time.monotonic() + self._limit
        while self._outcome is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {self._limit:g} s")
            if not self._serve(client, left) and self._outcome is None:
                self._drop()
                if self._ended is not None and self._ended.value in _BLAMED:
                    raise ActionFailed(f"the broker says: {self._ended}")
                raise TargetUnavailable(f"the broker says: {self._ended or 'the connection was closed'}")
        return self._outcome

    def _serve(self, client: mqtt.Client, seconds: float) -> bool:
        """Receive and send what there is, waiting up to `seconds`; False where the connection is gone."""
        link: Any = client.socket()
        if link is None:
            return False
        poller = select.poll()
        poller.register(link, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        buffered = isinstance(link, ssl.SSLSocket) and link.pending() > 0
        if poller.poll(0 if buffered else seconds * 1000) or buffered:
            client.loop_read()
        if client.want_write():
            client.loop_write()
        return client.socket() is not None

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        link = client.socket()
        with contextlib.suppress(OSError, ValueError):
            client.disconnect()
        if link is not None:
            link.close()


class _NamedContext(ssl.SSLContext):
    """Certificates are held against the broker's name, though its address is connected to."""

    def __new__(cls, name: str, limit: float) -> "_NamedContext":
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, name: str, limit: float) -> None:
        super().__init__()
        self._name = name
        self._limit = limit
        self.load_default_certs()

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        """The handshake is made here: the library would leave a socket open on which it fails."""
        made = super().wrap_socket(sock, *args, **{**options, "server_hostname": self._name})
        try:
            made.settimeout(self._limit)
            made.do_handshake()
        except BaseException:
            made.close()
            raise
        return made


def _keep_alive(link: Any) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
