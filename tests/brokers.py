"""Real brokers and a real receiver of webhooks for tests: killed, stopped and started again on one port.

Mosquitto is Debian's; the Kafka broker is the one that librdkafka brings for tests of clients, which speaks
the protocol over TCP.
"""

import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.servers import until

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class _Program:
    """A process that can be killed and stopped."""

    child: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        if self.child is not None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait(10)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and are accepted by the kernel. All of its threads have stopped."""
        assert self.child is not None
        self.child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGCONT)


class Mosquitto(_Program):
    """A broker that keeps what it took over kills, and lets in whom `lines` of its configuration say."""

    def __init__(self, folder: Path, lines: str = "allow_anonymous true", tls: str = "") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{tls}\n{lines}\nautosave_interval 1\nautosave_on_changes true\n"
            f"persistence true\npersistence_location {folder}/\nuser root\n"
        )
        self._log = folder / "mosquitto.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.child = subprocess.Popen([MOSQUITTO, "-c", self._config], stdout=log, stderr=log)
        until(self._listens)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@contextmanager
def mosquitto(folder: Path, **options: Any) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, **options)
    try:
        yield broker
    finally:
        broker.kill()


class Subscriber:
    """Everything published on all topics, by a client that stays subscribed across restarts of the broker."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, str]] = []
        self.ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_message = lambda _client, _data, one: self.got.append(
            (one.topic, one.payload.decode())
        )
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.ready.wait(10)

    def _take(self, _client: Any, _data: Any, one: Any) -> None:
        self.got.append((one.topic, one.payload.decode()))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


_KAFKA = """
import ctypes, pathlib, sys
import confluent_kafka

folder = pathlib.Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
lib = ctypes.CDLL(str(next(folder.glob("librdkafka*.so*"))))
for name in ("conf_new", "new", "mock_cluster_new", "mock_cluster_bootstraps"):
    getattr(lib, f"rd_kafka_{name}").restype = ctypes.c_void_p
text = ctypes.create_string_buffer(512)
client = ctypes.c_void_p(lib.rd_kafka_new(0, ctypes.c_void_p(lib.rd_kafka_conf_new()), text, 512))
broker = ctypes.c_void_p(lib.rd_kafka_mock_cluster_new(client, 1))
print(ctypes.string_at(lib.rd_kafka_mock_cluster_bootstraps(broker)).decode(), flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    if word == "refuse":
        lib.rd_kafka_mock_topic_set_error(broker, rest[0].encode(), int(rest[1]))
    else:
        getattr(lib, f"rd_kafka_mock_broker_set_{word}")(broker, 1)
    print("done", flush=True)
"""


class Kafka(_Program):
    """librdkafka's broker in a process of its own; what it took is kept while it is down."""

    def __init__(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", _KAFKA], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.port = int(self._line().rpartition(":")[2])

    def down(self) -> None:
        """Close its connections, and take no new ones."""
        self._do("down")

    def up(self) -> None:
        self._do("up")

    def refuse(self, topic: str, code: int) -> None:
        """Answer with that error of the protocol whatever is asked of the topic."""
        self._do(f"refuse {topic} {code}")

    def _do(self, words: str) -> None:
        assert self.child is not None
        assert self.child.stdin is not None
        self.child.stdin.write(f"{words}\n".encode())
        self.child.stdin.flush()
        assert self._line() == "done"

    def _line(self) -> str:
        assert self.child is not None
        assert self.child.stdout is not None
        assert select.select([self.child.stdout], [], [], 30)[0], "the broker does not start"
        return self.child.stdout.readline().decode().strip()

    def read(self, topic: str, count: int, seconds: float = 20.0) -> list[tuple[str | None, str]]:
        """Key and value of the first messages of a topic's partitions, read by librdkafka."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        consumer = Consumer(
            {
                "bootstrap.servers": f"127.0.0.1:{self.port}",
                "group.id": f"reader-{time.monotonic_ns()}",
                "log_level": 0,
            }
        )
        found: list[tuple[str | None, str]] = []
        try:
            # Not by subscribing: a group takes three seconds to agree on who reads what.
            partitions = consumer.list_topics(topic, seconds).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
            deadline = time.monotonic() + seconds
            while len(found) < count and time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    key, value = message.key(), message.value()
                    found.append((None if key is None else key.decode(), value.decode()))
        finally:
            consumer.close()
        return found


@contextmanager
def kafka() -> Iterator[Kafka]:
    broker = Kafka()
    try:
        yield broker
    finally:
        broker.kill()
        for pipe in (broker.child.stdin, broker.child.stdout):
            with suppress(OSError):
                pipe.close()


@dataclass
class Receiver:
    """What receives webhooks: each request, and what is answered to it (`statuses` first, then `status`)."""

    port: int
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    status: int = 204
    wait_sec: float = 0.0
    connections: int = 0
    drip: bool = False
    on_message: Callable[[str], None] = lambda body: None
    """Called with each body before it is answered."""

    @property
    def bodies(self) -> list[str]:
        return [body.decode() for _, _, body in self.got]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    receiver: Receiver

    def get_request(self) -> Any:
        found = super().get_request()
        self.receiver.connections += 1
        return found

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # The sender was killed.
            self.close_connection = True
            return
        receiver.on_message(body.decode(errors="replace"))
        receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        time.sleep(receiver.wait_sec)
        if receiver.drip:
            for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                self.wfile.write(bytes([letter]))
                time.sleep(0.05)
        status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
        if status != 204:
            self.send_header("Content-Length", "2")
        self.end_headers()
        if status != 204:
            self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver(port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    server = _Server(("127.0.0.1", port), _Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Authority:
    """A certificate authority for tests, and a certificate of it for `localhost`."""

    ca: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def authority(folder: Path) -> Authority:
    """Made by openssl; its files are read once."""
    made = Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    for command in (
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca "
        f"-keyout {folder}/ca.key -out {made.ca}",
        f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {made.key} -out {folder}/server.csr",
        f"x509 -req -in {folder}/server.csr -CA {made.ca} -CAkey {folder}/ca.key -CAcreateserial -days 2 "
        f"-copy_extensions copy -out {made.certificate}",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, timeout=60)
    os.chmod(made.key, 0o644)  # noqa: PTH101
    return made
