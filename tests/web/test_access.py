"""Every path × role, from a table; what the table does not name is denied."""

import time
from typing import Literal

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from siwatsystem.config import Settings
from siwatsystem.guesses import Guesses
from siwatsystem.logins import Logins
from siwatsystem.web.access import COOKIE, AccessMiddleware, needed_role

TOKENS = {"nobody": None, "stranger": "wrong", "viewer": "look", "controller": "command"}
PATHS = {
    "/": "open",
    "/health": "open",
    "/static/a.js": "view",
    "/metrics": "view",
    "/api/cameras": "view",
    "/docs": "view",
    "/openapi.json": "view",
    "/asyncapi.json": "view",
    "/camera/a;b/image": "view",
    "/something/new": "view",
}


async def answer(request: object) -> PlainTextResponse:
    return PlainTextResponse("yes")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def client(settings: Settings, logins: Logins | None = None) -> TestClient:
    app = Starlette(routes=[Route("/{path:path}", answer), WebSocketRoute("/", talk)])
    app.add_middleware(AccessMiddleware, settings=settings, logins=logins or Logins(60), guesses=Guesses())
    return TestClient(app)


GUARDED = Settings.model_validate({"control_token": "command", "view_token": "look"})


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("who", TOKENS)
@pytest.mark.parametrize("path", PATHS)
def test_who_may_read_what(path: str, who: str):
    response = client(GUARDED).get(path, headers=bearer(TOKENS[who]))
    known = who in ("viewer", "controller")
    if PATHS[path] == "open" or known:
        assert response.status_code == 200
    else:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        detail = "a token is needed" if TOKENS[who] is None else "the token is not known here"
        assert response.json()["detail"] == detail


def test_the_table_is_the_rule():
    for path, role in PATHS.items():
        assert needed_role("http", path) == role
    assert needed_role("websocket", "/") == "control"


@pytest.mark.parametrize("who", TOKENS)
def test_only_control_may_open_the_websocket(who: str):
    headers = bearer(TOKENS[who])
    if who == "controller":
        with client(GUARDED).websocket_connect("/", headers=headers) as socket:
            assert socket.receive_text() == "hello"
        return
    with pytest.raises(WebSocketDisconnect), client(GUARDED).websocket_connect("/", headers=headers):
        pass


def test_with_only_a_control_token_looking_needs_it_too():
    only = Settings.model_validate({"control_token": "command"})
    assert client(only).get("/metrics").status_code == 401
    assert client(only).get("/metrics", headers=bearer("command")).status_code == 200


def test_with_only_a_view_token_commands_are_open_and_looking_is_not():
    only = Settings.model_validate({"view_token": "look"})
    assert client(only).get("/metrics").status_code == 401
    assert client(only).get("/metrics", headers=bearer("look")).status_code == 200
    with client(only).websocket_connect("/") as socket:
        assert socket.receive_text() == "hello"


def test_without_tokens_everything_is_open():
    open_worker = Settings.model_validate({})
    assert client(open_worker).get("/metrics").status_code == 200
    with client(open_worker).websocket_connect("/") as socket:
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://testserver", True),
        ("http://evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_a_browser_page_of_another_site_may_not_connect(origin: str | None, allowed: bool):
    headers = {} if origin is None else {"Origin": origin}
    open_worker = client(Settings.model_validate({"hostnames": ["testserver"]}))
    if allowed:
        with open_worker.websocket_connect("/", headers=headers) as socket:
            assert socket.receive_text() == "hello"
        return
    with pytest.raises(WebSocketDisconnect), open_worker.websocket_connect("/", headers=headers):
        pass


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("localhost:8000", True),
        ("10.0.0.7", True),
        ("worker.station:8000", True),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("[", False),
        ("127.0.0.1.evil.example:8000", False),
        ("", False),
    ],
)
def test_a_name_that_a_stranger_pointed_here_is_no_page_of_ours(host: str, allowed: bool):
    headers = {"Host": host, "Origin": f"http://{host}"}
    settings = Settings.model_validate({"hostnames": ["worker.station"]})
    if allowed:
        with client(settings).websocket_connect("/", headers=headers) as socket:
            assert socket.receive_text() == "hello"
        return
    with pytest.raises(WebSocketDisconnect), client(settings).websocket_connect("/", headers=headers):
        pass


def test_a_program_may_use_any_name_and_a_token_settles_it():
    with client(Settings()).websocket_connect("/", headers={"Host": "any.name"}) as socket:
        assert socket.receive_text() == "hello"
    headers = {"Host": "any.name", "Origin": "http://any.name", **bearer("command")}
    with client(GUARDED).websocket_connect("/", headers=headers) as socket:
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize(
    ("role", "origin", "allowed"),
    [
        ("control", "http://testserver", True),
        ("control", None, True),
        ("control", "http://evil.example", False),
        ("view", "http://testserver", False),
    ],
)
def test_a_login_opens_the_websocket_to_our_own_pages(
    role: Literal["view", "control"], origin: str | None, allowed: bool
):
    logins = Logins(60)
    headers = {"Cookie": f"{COOKIE}={logins.begin(role, time.monotonic())}"}
    headers |= {} if origin is None else {"Origin": origin}
    browser = client(GUARDED, logins)
    if allowed:
        with browser.websocket_connect("/", headers=headers) as socket:
            assert socket.receive_text() == "hello"
        return
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect("/", headers=headers):
        pass
