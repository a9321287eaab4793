"""Strangers who send too slowly, too much or too often, over raw sockets against the server's protocol."""

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import uvicorn
from prometheus_client import REGISTRY
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed, InvalidStatus

from siwatsystem import http_protocol, server
from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.http_protocol import MAX_REQUEST_BYTES, MAX_WAITING, LimitedProtocol
from siwatsystem.overview.trial import Trials
from siwatsystem.web import access, bodies
from tests.acceptance.worker import worker

# A connection that is cut while the server's loop ends is left to the collector, which says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
REQUEST_SEC = 1.0
REASONS = ("wrong", "too_many")
CONTROL, VIEW = "command-0123456789", "look-0123456789"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The application without a worker behind it, served as the worker is, with shorter patience."""
    monkeypatch.setattr(http_protocol, "REQUEST_SEC", REQUEST_SEC)
    monkeypatch.setattr(bodies, "SECONDS", REQUEST_SEC / 2)
    app = create_app(Settings.model_validate({"control_token": CONTROL}))
    app.state.worker = SimpleNamespace(loop_of=lambda _: None)
    app.state.trials = Trials()
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=1,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listener],), name="server")
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


def lasted(link: socket.socket, more: Callable[[], bytes], pause: float = 0.1, most: float = 8.0) -> float:
    """Seconds until the other side ends the connection, while `more` is sent now and then."""
    began = time.monotonic()
    link.setblocking(False)
    while (passed := time.monotonic() - began) < most:
        try:
            if data := more():
                link.sendall(data)
            if link.recv(65536) == b"":
                return passed
        except BlockingIOError:
            pass
        except OSError:
            return passed
        time.sleep(pause)
    return most


GREETINGS = {
    "nothing": (b"", b""),
    "a byte of a header now and then": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"a"),
    "a header now and then": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X-A: a\r\n"),
    "a byte of the path now and then": (b"GET /", b"a"),
    "blank lines": (b"", b"\r\n"),
    "a half WebSocket handshake": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        b"X-A: a\r\n",
    ),
    "a body that never comes": (
        b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n",
        b"",
    ),
    "a body byte by byte": (
        b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n",
        b" ",
    ),
    "a body of a request that was answered": (
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n",
        b" ",
    ),
    "chunks byte by byte": (
        b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "blank lines after an answer": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n"),
}


@pytest.mark.parametrize("how", GREETINGS)
def test_who_is_slow_is_cut(port: int, how: str):
    first, more = GREETINGS[how]
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(first)
        assert lasted(link, lambda: more) < 3 * REQUEST_SEC + 1


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"GET / HTTP/1.1\r\nX-A: ", b"a" * 65536),
        (b"GET / HTTP/1.1\r\n", b"X-A: a\r\n" * 8192),
        (b"GET /?", b"a" * 65536),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n" * 8192),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", b" " * 65536),
    ],
    ids=["header", "headers", "query", "trailers", "body"],
)
def test_who_sends_much_is_cut_before_it_fills_the_memory(port: int, first: bytes, more: bytes):
    before, sent = psutil.Process().memory_info().rss, 0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link, contextlib.suppress(OSError):
        link.sendall(first)
        while sent < 64 << 20:
            link.sendall(more)
            sent += len(more)
    assert sent < 64 << 20, "everything was taken"
    assert psutil.Process().memory_info().rss - before < 32 << 20
    assert MAX_REQUEST_BYTES < 1 << 20


def test_who_asks_far_ahead_is_cut(port: int):
    ahead = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(ahead * 2000)
        answer = b""
        with contextlib.suppress(OSError):
            while data := link.recv(1 << 20):
                answer += data
    assert answer.count(b"HTTP/1.1 200") <= MAX_WAITING + 1
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(ahead * 8)
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 8:
            data = link.recv(1 << 20)
            assert data, "what browsers may do is refused"
            answer += data


def test_a_large_body_is_answered_and_not_kept(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        text = json.dumps({"token": "x" * 40_000}).encode()
        head = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        link.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        assert b" 413 " in link.recv(65536).split(b"\r\n")[0]


def test_others_are_served_while_hundreds_of_connections_say_nothing(port: int):
    with contextlib.ExitStack() as open_ones:
        for _ in range(300):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert link.recv(100).startswith(b"HTTP/1.1 200")


def test_a_guesser_is_held_up_counted_and_logged_and_the_operator_is_not(
    caplog: pytest.LogCaptureFixture,
):
    before = refused()
    app = create_app(Settings.model_validate({"control_token": CONTROL, "view_token": VIEW}))
    stranger = TestClient(app, client=("192.0.2.1", 1))
    answers = [
        stranger.get("/metrics", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(60)
    ]
    assert answers[:20] == [401] * 20
    assert answers.count(429) >= 30
    assert stranger.post("/login", json={"token": "one more"}).status_code == 429
    assert stranger.post("/login", json={"token": CONTROL}).headers["retry-after"] == "1"
    operator = TestClient(app, client=("192.0.2.2", 1))
    assert operator.post("/login", json={"token": CONTROL}).status_code == 200
    assert operator.get("/metrics", headers={"Authorization": f"Bearer {VIEW}"}).status_code == 200
    assert refused() - before == 62
    said = [record.message for record in caplog.records if record.name.startswith("siwatsystem")]
    assert said == ["1 wrong token(s) from 192.0.2.1"]


def refused() -> float:
    values = (
        REGISTRY.get_sample_value("siwat_tokens_refused_total", {"reason": reason}) for reason in REASONS
    )
    return sum(value or 0.0 for value in values)


@pytest.mark.parametrize(("proxies", "held"), [("[]", True), ('["127.0.0.0/8"]', False)])
def test_only_a_proxy_that_is_set_says_who_calls(tmp_path: Path, proxies: str, held: bool):
    """Through the real server, whose default is to believe everybody on this machine."""
    with worker(tmp_path, SIWAT_CONTROL_TOKEN=CONTROL, SIWAT_PROXIES=proxies) as running:
        link = HTTPConnection("127.0.0.1", running.port, timeout=20)

        def ask(method: str, path: str, body: str | None = None, **headers: str) -> HTTPResponse:
            link.request(method, path, body, {name.replace("_", "-"): each for name, each in headers.items()})
            answer = link.getresponse()
            answer.read()
            return answer

        found = {
            ask("GET", "/metrics", Authorization=f"Bearer {n}", X_Forwarded_For=f"192.0.2.{n}").status
            for n in range(40)
        }
        assert found == ({401, 429} if held else {401})
        time.sleep(1.1)  # the one that is held up may try once a second
        login = ask(
            "POST", "/login", json.dumps({"token": CONTROL}),
            Content_Type="application/json", X_Forwarded_Proto="https", X_Forwarded_For="198.51.100.1",
        )  # fmt: skip
        assert login.status == 200
        assert ("Secure" in (login.getheader("Set-Cookie") or "")) is not held
        link.close()


def test_a_login_goes_on_while_somebody_guesses_behind_the_same_address():
    app = create_app(Settings.model_validate({"control_token": CONTROL}))
    browser = TestClient(app, client=("192.0.2.1", 1))
    assert browser.post("/login", json={"token": CONTROL}).status_code == 200
    guesser = TestClient(app, client=("192.0.2.1", 1))
    for number in range(60):
        guesser.post("/login", json={"token": f"guess {number}"})
    assert guesser.post("/login", json={"token": "another"}).status_code == 429
    assert browser.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    "body", [b'{"token": "\\ud800"}', b'{"token": ["hunter2"]}', b'{"other": "hunter2"}', b"\xff"]
)
def test_a_login_that_is_none_is_told_without_what_was_sent(body: bytes):
    app = create_app(Settings.model_validate({"control_token": CONTROL}))
    answer = TestClient(app).post("/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 401, 422)
    assert '"input"' not in answer.text
    assert "hunter2" not in answer.text


def test_a_client_can_tell_full_and_busy_from_not_allowed(tmp_path: Path):
    def refused_with(token: str) -> tuple[int, str]:
        """The status of the handshake, or the code and reason of the close after it."""
        try:
            with running.client(Authorization=f"Bearer {token}") as one:
                one.next(20)
        except InvalidStatus as refusal:
            return refusal.response.status_code, ""
        except ConnectionClosed as ended:
            return (0, "") if ended.rcvd is None else (ended.rcvd.code, ended.rcvd.reason)
        raise AssertionError("it was let in")

    with worker(tmp_path, SIWAT_CONTROL_TOKEN=CONTROL, SIWAT_WEBSOCKET__MAX_CONNECTIONS="1") as running:
        with running.client(Authorization=f"Bearer {CONTROL}") as first:
            assert first.next(20) is not None
            assert refused_with(CONTROL) == (1013, "as many connections are open as this worker allows")
            assert first.next(20) is not None, "the one that is there goes on"
        found = [refused_with(f"guess {number}") for number in range(60)]
        assert set(found) == {(403, ""), (1013, access.TOO_MANY)}
        assert found[:20] == [(403, "")] * 20


TRY = "/dashboard/try?model_url=http%3A%2F%2F127.0.0.1%3A1%2Fnone.mpta"
"""The body is taken, then there is no such archive: 422."""


def sent_slowly(port: int, path: str, size: int, **headers: str) -> tuple[int, str, int]:
    """A POST in pieces: the status and the text of the answer, and the bytes that could be sent, of a client
    that stops once it sees an answer."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\n{named}Content-Length: {size}\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(OSError):
            while sent < size and not select.select([link], [], [], 0.001)[0]:
                sent += link.send(bytes(min(16384, size - sent)))
        answer = HTTPResponse(link)
        answer.begin()
        return answer.status, answer.read().decode(), sent


def test_a_picture_may_be_large_for_whoever_may_try_one(tmp_path: Path):
    with worker(tmp_path, SIWAT_CONTROL_TOKEN=CONTROL, SIWAT_VIEW_TOKEN=VIEW) as running:

        def post(size: int, path: str = TRY, token: str = CONTROL) -> tuple[int, str]:
            """As browsers do: the answer is read when everything is sent."""
            link = HTTPConnection("127.0.0.1", running.port, timeout=60)
            link.request("POST", path, bytes(size), {"Authorization": f"Bearer {token}"})
            answer = link.getresponse()
            text = answer.read().decode()
            link.request("GET", "/health")  # the connection goes on
            assert link.getresponse().status == 200
            link.close()
            return answer.status, text

        for size in (3_000_000, 15_000_000, 20_000_000):
            assert post(size)[0] == 422, size
        status, text = post(25_000_000)
        assert (status, "more than 20 MB" in text) == (413, True)
        # Answered before a byte of it was asked for.
        assert post(3_000_000, "/dashboard/try?camera=no%3Bsuch")[0] == 404
        # Everybody else, and everywhere else: answered or cut, and little is taken.
        for headers, path, expected in (
            ({}, TRY, 401),
            ({"Authorization": f"Bearer {VIEW}"}, TRY, 403),
            ({"Authorization": f"Bearer {CONTROL}"}, "/login", 413),
            ({"Authorization": f"Bearer {CONTROL}"}, "/dashboard/try/further", 404),
        ):
            status, _, sent = sent_slowly(running.port, path, 20_000_000, **headers)
            assert status == expected
            assert sent < 1_000_000
            with pytest.raises(OSError):  # reset or broken, as the machine has it
                post(20_000_000, path, headers.get("Authorization", "Bearer none").split()[1])
        with pytest.raises(OSError):  # bounded, for those who may, too
            post(200_000_000)


def test_a_picture_may_take_its_time(port: int):
    """Longer than any other request; one that stops coming ends, and so do trailers without end."""
    head = f"POST {TRY} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CONTROL}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(head + b"Content-Length: 100000\r\n\r\n")
        assert lasted(link, lambda: b" ", most=3 * REQUEST_SEC) == 3 * REQUEST_SEC
    for allowed in ("", "Bearer wrong"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
            link.sendall(head.replace(f"Bearer {CONTROL}".encode(), allowed.encode()))
            link.sendall(b"Content-Length: 100000\r\n\r\n")
            assert lasted(link, lambda: b" ") < 3 * REQUEST_SEC + 1
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 8 << 20:
                sent += link.send(b"X-A: a\r\n" * 1024)
        assert sent < 8 << 20


def test_the_worker_is_served_with_these_limits(tmp_path: Path):
    """The same attack against the real thing, so that the protocol cannot be left out of its settings."""
    with worker(tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as link:
            sent = 0
            with contextlib.suppress(OSError):
                link.sendall(b"GET / HTTP/1.1\r\nX-A: ")
                while sent < 16 << 20:
                    link.sendall(b"a" * 65536)
                    sent += 65536
            assert sent < 16 << 20
        assert running.get("/health")[0] == 200
    assert server.LimitedProtocol is LimitedProtocol
