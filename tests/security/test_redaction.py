"""Passwords in every kind of address, failing in every way: searched for wherever the worker speaks."""

import base64
import json
import os
import socketserver
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from demo.processes import Process
from tests.acceptance.archives import repack
from tests.acceptance.client import Client
from tests.acceptance.conftest import CLIPS
from tests.acceptance.worker import WorkerProcess, worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400)]
USER = "zqUser"
MARKS = ("zqUser", "zqHead", "zqAt", "zqColon", "zqSlash", "zqHash", "zqQuery", "zqAmp", "zqTail", "zqToken")
"""Parts of every secret, so that one that is cut at any separator is found too."""
PASSWORDS = (
    "zqHead@zqAt:zqColon/zqSlash%20#zqHash?zqQuery&é;zqTail",
    "zqHead'zqAt\"zqColon zqSlash\\zqHash<zqQuery>zqTail",
    "zqHead%40zqAt%3AzqColon",
)
TOKEN = "zqToken-zqHead-zqTail"
HOLDERS = ("outbox.sqlite", "outbox.sqlite-wal", "outbox.sqlite-shm")
"""What must hold them: a delivery needs the password of its server."""


class Failing(BaseHTTPRequestHandler):
    """`/401`, `/404`, `/500`, `/loop`, `/elsewhere` (there with a password), `/slow`, else rubbish."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.path.split("/")[1].partition("?")[0]
        if kind == "slow":
            time.sleep(8)
        status = {"401": 401, "404": 404, "500": 500, "loop": 302, "elsewhere": 302}.get(kind, 200)
        self.send_response(status)
        if kind == "loop":
            self.send_header("Location", self.path)
        if kind == "elsewhere":
            self.send_header("Location", f"http://{USER}:zqHead@127.0.0.1:1/x?key=zqToken")
        if kind == "401":
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.send_header("Content-Length", "7")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b"rubbish")

    def log_message(self, *_: object) -> None:
        pass


class FailingRtsp(socketserver.StreamRequestHandler):
    """Asks for a login, whatever comes."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line == b"\r\n":
                self.wfile.write(
                    b'RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm="c"\r\n\r\n'
                )


class Refusing(socketserver.StreamRequestHandler):
    """A database that repeats what it was told, and refuses it."""

    def handle(self) -> None:
        data = self.request.recv(65536)
        self.request.sendall(b"-ERR invalid password " + data.replace(b"\r\n", b" ")[:200] + b"\r\n")


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, name="failing")
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Threading(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def addresses(password: str, http: int, rtsp: int) -> list[tuple[str, str]]:
    """Addresses of cameras and archives that hold the password, raw and escaped: (camera, archive)."""
    found = []
    ends = [
        f"127.0.0.1:{http}/401/x",
        f"127.0.0.1:{http}/404/x",
        f"127.0.0.1:{http}/loop/x",
        f"127.0.0.1:{http}/elsewhere/x",
        f"127.0.0.1:{http}/rubbish/x",
        f"127.0.0.1:{http}/slow/x",
        "127.0.0.1:1/refused",
        "127.0.0.1:99999/port",
        "no-such-host.invalid/x",
        "169.254.169.254/meta",
        "[::ffff:169.254.169.254]/meta",
    ]
    for written in (password, quote(password, safe="")):
        for end in ends:
            login = f"{USER}:{written}@"
            query = "?user=zqUser&pwd=zqToken&sig=zqToken%2F"
            found.append((f"http://{login}{end}{query}", f"http://{login}{end}.mpta{query}"))
        for scheme, place in (
            ("rtsp", f"127.0.0.1:{rtsp}"),
            ("rtsp", "127.0.0.1:1"),
            ("gopher", "127.0.0.1"),
        ):
            address = f"{scheme}://{USER}:{written}@{place}/s?token=zqToken"
            found.append((address, address))
    return found


def subscribe_all(running: WorkerProcess, pairs: list[tuple[str, str]], good: str, station: str) -> list[str]:
    """Everything that the worker says to a client that subscribes all of them, in three ways, while what is
    seen at `station` cannot be delivered."""
    login = {"Authorization": f"Bearer {TOKEN}"}
    with Client(f"ws://127.0.0.1:{running.port}/?token={TOKEN}", login) as client:
        for number, (camera, archive) in enumerate(pairs):
            client.subscribe(f"d;rtsp{number}", rtspUrl=camera, modelUrl=archive, modelId=number)
            client.subscribe(
                f"d;snap{number}", snapshotUrl=camera, snapshotInterval=500, modelUrl=good, modelId=9999
            )
        client.subscribe("d;seen", snapshotUrl=station, snapshotInterval=500, modelUrl=good, modelId=9999)
        # What is no command quotes nothing of it either.
        camera = pairs[0][0]
        client.subscribe("d;bad", rtspUrl=[camera], modelUrl=camera)
        client.subscribe("d;crop", rtspUrl=camera, modelUrl=camera, cropX1=camera)
        client.send({"type": camera})
        client.send({"type": "subscribe", "payload": camera})
        client.send(json.dumps({"type": "subscribe", "payload": {"rtspUrl": camera}}) + "rubbish")
        client.send(json.dumps({"type": "unsubscribe", "payload": camera}).replace("/", "\\/"))
        began = time.monotonic()
        while time.monotonic() < began + 12 or not refused(running):
            assert time.monotonic() < began + 240, json.dumps(json.loads(read(running, "/health"))["outbox"])
            client.next(1)
        said = [json.dumps(message) for message in client.received]
    kinds = {message["type"] for message in client.received}
    assert "error" in kinds, "nothing failed: nothing is shown"
    codes = {message["code"] for message in client.received if message["type"] == "error"}
    assert {"stream_unauthorized", "stream_unreachable", "stream_refused", "model_download_failed"} <= codes
    return said


def refused(running: WorkerProcess) -> bool:
    """Whether both databases were asked, and refused."""
    servers = json.loads(read(running, "/health"))["outbox"]["servers"]
    return bool(servers) and all(server["error"] or server["waiting"] for server in servers)


def forms() -> list[bytes]:
    """What would give a secret away: each part, and the headers that carry all of it."""
    whole = [f"{USER}:{password}".encode() for password in PASSWORDS]
    return [*(mark.encode() for mark in MARKS), *(base64.b64encode(each)[:12] for each in whole)]


def leaks(where: str, text: bytes) -> list[str]:
    found = []
    for form in forms():
        at = text.find(form)
        if at >= 0:
            found.append(f"{where}: …{text[max(0, at - 120) : at + 60]!r}")
    return found[:3]


def children_of(running: WorkerProcess) -> list[str]:
    """What the process list shows of the worker's children, and what they were given."""
    found = []
    for child in psutil.Process(running.process.child.pid).children(recursive=True):
        try:
            for name in ("cmdline", "environ"):
                found.append((Path("/proc") / str(child.pid) / name).read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def read(running: WorkerProcess, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{running.port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def must_hold(path: Path) -> bool:
    """Whether it is a copy of the archive that names the databases."""
    return path.suffix == ".mpta" or path.name == "pipeline.json"


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_secret_of_an_address_is_ever_told(level: str, tmp_path: Path) -> None:
    folder, shelf = tmp_path / "data", tmp_path / "shelf"
    shelf.mkdir()
    settings = {
        "SIWAT_LOGS__LEVEL": level,
        "SIWAT_CONTROL_TOKEN": TOKEN,
        "SIWAT_MODELS__ALLOW_FILE": "true",
        "SIWAT_MODELS__DOWNLOAD_TIMEOUT_SEC": "4",
        "SIWAT_MAX_STREAMS": "999",
    }
    with ExitStack() as stack:
        http = stack.enter_context(serving(ThreadingHTTPServer(("127.0.0.1", 0), Failing)))
        rtsp = stack.enter_context(serving(_Threading(("127.0.0.1", 0), FailingRtsp)))
        redis = stack.enter_context(serving(_Threading(("127.0.0.1", 0), Refusing)))

        def targets(pipeline: dict[str, Any]) -> None:
            pipeline["redis"] = {"host": "127.0.0.1", "port": redis, "password": PASSWORDS[0]}
            pipeline["postgresql"] = {
                "host": "127.0.0.1",
                "port": redis,
                "database": "d",
                "username": USER,
                "password": PASSWORDS[1],
            }
            login = {"username": USER, "password": PASSWORDS[2]}
            pipeline["mqtt"] = {"host": "127.0.0.1", "port": redis, **login}
            pipeline["kafka"] = {"bootstrap_servers": f"127.0.0.1:{redis}", **login}
            root = pipeline["pipeline"]
            hook = {"url": f"http://127.0.0.1:{http}/zqToken?key=zqToken", "secret": TOKEN}
            root["actions"][:0] = [
                {"type": "webhook", "message": "m", **hook},
                {"type": "mqtt_publish", "topic": "t", "message": "m"},
                {"type": "kafka_publish", "topic": "t", "message": "m"},
            ]

        archive = repack(shelf / "good.mpta", targets)
        running = stack.enter_context(worker(folder, **settings))
        command = [sys.executable, "-m", "demo.cameras.snapshot_server", str(CLIPS[-1])]
        camera = Process(command, tmp_path / "camera.log")
        stack.callback(camera.stop)
        station = camera.first_line(60).split()[-1] + "/snapshot"
        pairs = [pair for password in PASSWORDS for pair in addresses(password, http, rtsp)]
        said = subscribe_all(running, pairs, archive.as_uri(), station)
        found = [leak for text in said for leak in leaks("message", text.encode())]
        shown = [one["id"] for one in json.loads(read(running, "/dashboard/state"))["cameras"]]
        pages = [f"/dashboard/camera/{quote(identifier)}" for identifier in shown]
        assert pages
        for path in ("/health", "/metrics", "/api/cameras", "/openapi.json", "/dashboard/state", *pages):
            found += leaks(path, read(running, path))
        found += [leak for text in children_of(running) for leak in leaks("child", text.encode())]
        running.process.stop()
        found += leaks("stderr", running.process.tail(100_000).encode())
        for directory, _, names in os.walk(folder):
            for name in names:
                path = Path(directory) / name
                found += leaks("file name", str(path.relative_to(folder)).encode())
                large = path.is_file() and path.stat().st_size > 50 << 20
                if not large and name not in HOLDERS and not must_hold(path):
                    found += leaks(str(path.relative_to(folder)), path.read_bytes())
        log = (folder / "detector_worker.log").read_text()
        assert "***@127.0.0.1" in log, "no address was logged: nothing is shown"
    assert not found, "\n".join(sorted(set(found)))
