"""The HTTP routes and the WebSocket of a whole worker, by somebody who means no good."""

import itertools
import socket
import time
from collections.abc import Iterator
from random import Random

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.fuzz import wire
from tests.fuzz.control_site import control_site
from tests.fuzz.http import ENDLESS, play
from tests.fuzz.site import CAMERA, Site, site

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")
SECONDS = 3.0


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_that_are_described(worker: Site):
    found = play(worker, 30, derandomize=True)
    image = "/camera/{camera_id}/image"
    assert {200, 401, 404} <= {status for path, status in found if path == image}
    assert {path for path, _ in found} == set(worker.app.openapi()["paths"])


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with control_site(tmp_path_factory.mktemp("control")) as made:
        yield made


@pytest.mark.filterwarnings("ignore")
def test_answers_of_the_control_server_are_those_that_are_described(control: Site):
    found = play(control, 15, derandomize=True)
    assert {path for path, _ in found} == set(control.app.openapi()["paths"]) - ENDLESS
    statuses = {status for _, status in found}
    assert {200, 401, 404, 409, 422} <= statuses
    assert requests.get(f"{control.url}/deepstream/health", timeout=10).json()["status"] == "healthy"


@pytest.mark.parametrize("last", ["", "x", "-1", "9" * 64, "1-", "\x80", "é", "9" * 65])
def test_events_go_on_from_whatever_they_are_asked_to(control: Site, last: str):
    headers = {**control.token, "Last-Event-ID": last.encode("latin-1")}
    with requests.get(f"{control.url}/deepstream/events", headers=headers, stream=True, timeout=10) as answer:
        if answer.status_code != 422:
            assert answer.status_code == 200
            assert next(answer.iter_lines()) == b"retry: 2000"


@pytest.mark.parametrize(
    "path", ["launch", "analysis/start", "requests/r/push", "nothing", "ws", "test/mock-analysis"]
)
@pytest.mark.parametrize("token", [False, True])
def test_no_method_makes_the_control_server_fail(control: Site, path: str, token: bool):
    headers = control.token if token else {}
    for method, body in itertools.product(METHODS, (b"", b"{", b"\xff\xfe", b"[" * 100_000)):
        answer = requests.request(
            method, f"{control.url}/deepstream/{path}", headers=headers, data=body, timeout=10
        )
        assert answer.status_code < 500 or answer.status_code == 503, (method, body[:5], answer.text)


@pytest.mark.parametrize("path", ["/", "/health", "/login", f"/camera/{CAMERA}/image", "/nothing", "/docs"])
@pytest.mark.parametrize("token", [False, True])
def test_no_method_makes_it_fail(worker: Site, path: str, token: bool):
    for method in METHODS:
        answer = requests.request(
            method, worker.url + path, headers=worker.token if token else {}, timeout=10
        )
        assert answer.status_code < 500, method


def test_raw_bytes_end_nothing(worker: Site):
    """Requests, upgrades and frames that are none, for a few seconds."""
    random, until, count = Random(5), time.monotonic() + SECONDS, 0
    upgrade = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: {worker.token['Authorization']}\r\n\r\n"
    ).encode()
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", worker.port), 5) as link:
            if random.randrange(2):
                link.sendall(upgrade)
            for _ in range(random.randrange(5)):
                try:
                    link.sendall(random.randbytes(random.choice((1, 10, 200, 5000))))
                except OSError:
                    break
        count += 1
    assert count > 10
    assert requests.get(f"{worker.url}/health", timeout=10).status_code == 200


def test_messages_of_all_kinds_are_answered(worker: Site):
    """Until the flood is closed, each message has its answer, and others are served."""
    random, until, closed = Random(6), time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        with connect(
            f"ws://127.0.0.1:{worker.port}/", additional_headers=worker.token, max_queue=None
        ) as backend:
            try:
                for _ in range(50):
                    text = wire.make(random)
                    if isinstance(text, str):
                        text = text.encode("utf-8", "replace").decode()
                    if '"subscribe"' not in str(text):
                        backend.send(text)
                backend.send('{"type": "requestState"}')
                while '"stateReport"' not in str(backend.recv(timeout=10)):
                    pass
            except ConnectionClosed:
                closed += 1
    assert requests.get(f"{worker.url}/camera/{CAMERA}/image", headers=worker.token, timeout=10).ok
