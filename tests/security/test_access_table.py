"""Every way into either server × caller × settings × what the browser says, against a policy of few lines.

The routes are read off the applications, so one that is added later is tried as well.
"""

import asyncio
import contextlib
import itertools
import json
import time
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from siwatsystem.app import create_app
from siwatsystem.commands.access_page import access_page, doors
from siwatsystem.config import Settings
from siwatsystem.deepstream.application import create_app as create_control
from siwatsystem.messages import COMMAND_TYPES
from siwatsystem.web.access import COOKIE

ROOT = Path(__file__).parent.parent.parent
CONTROL, VIEW = "command-0123456789", "look-0123456789"
SETTINGS = {"none": {}, "control": {"control"}, "view": {"view"}, "both": {"control", "view"}}
CALLERS = (
    "nobody",
    "view token",
    "control token",
    "wrong token",
    "app token",
    "view login",
    "control login",
    "forged login",
    "expired login",
)
ORIGINS = {
    "none": None,
    "ours": "http://10.0.0.7:8000",
    "rebound": "http://rebound.example",  # a name of somebody else's that was pointed at us
    "foreign": "http://evil.example",
    "null": "null",
}
HOSTS = {"address": "10.0.0.7:8000", "rebound": "rebound.example"}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND")
READING = {"GET", "HEAD", "OPTIONS"}
SERVERS = {"worker": create_app, "control server": create_control}
APPS = "/deepstream/ws"
OPEN_TO_READ = {"/", "/health", "/favicon.ico", "/deepstream/health", "/deepstream/ui"}
OPEN_FOLDERS = ("/assets/", "/deepstream/assets/")
OPEN_TO_SEND = {"/login", "/logout"}


def held(tokens: set[str], caller: str) -> set[str]:
    """What the caller has, whatever it asks for."""
    role, _, kind = caller.partition(" ")
    known = kind in ("token", "login") and role in tokens
    has = set() if tokens else {"view", "control"}
    if "control" not in tokens:
        has.add("control")
    if known:
        has |= {"view", role}
    return has


def allowed(
    server: str, kind: str, method: str, path: str, tokens: set[str], caller: str, origin: str, host: str
) -> bool:
    """The policy: default deny."""
    reading = kind == "http" and method in READING
    if kind == "http" and reading and path.startswith(OPEN_FOLDERS):
        return True
    if kind == "http" and ((reading and path in OPEN_TO_READ) or (method == "POST" and path in OPEN_TO_SEND)):
        return True
    browser = origin != "none"
    ours = origin == "none" or (origin, host) in (("ours", "address"), ("rebound", "rebound"))
    if not reading and not ours:
        return False  # a page of another site
    if not reading and browser and host == "rebound" and "control" not in tokens:
        return False
    if caller == "app token" and (server, kind, path) == ("control server", "websocket", APPS):
        return True
    return ("view" if reading else "control") in held(tokens, caller)


class Gate:
    """The application's own middleware before a router that says yes to everything."""

    def __init__(self, server: str, tokens: set[str], folder: Path) -> None:
        values = {"control": CONTROL, "view": VIEW}
        secrets = {f"{name}_token": values[name] for name in tokens}
        settings = Settings.model_validate({"data_dir": folder, **secrets})
        self.app = SERVERS[server](settings)
        self.tokens = {"view": VIEW, "control": CONTROL}
        if server == "control server":
            (folder / "logs" / "apps").mkdir(parents=True, exist_ok=True)
            self.tokens["app"] = self.app.state.app_tokens.issue("one")
        self.doors = doors(self.app)
        self.app.state.worker = SimpleNamespace(loop_of=lambda _: None)
        self.app.router = yes  # type: ignore[assignment]
        logins, now = self.app.state.logins, time.monotonic()
        self.names = {
            "forged": "A" * 43,
            "expired": logins.begin("control", now - settings.login_keep_sec - 1),
            **{role: logins.begin(role, now) for role in tokens},  # a token that is not set gives no login
        }

    async def ask(self, kind: str, method: str, path: str, caller: str, origin: str, host: str) -> bool:
        role, _, how = caller.partition(" ")
        headers = {"host": HOSTS[host]}
        if ORIGINS[origin] is not None:
            headers["origin"] = str(ORIGINS[origin])
        if how == "token":
            headers["authorization"] = f"Bearer {self.tokens.get(role, 'wrong')}"
        elif how == "login":
            headers["cookie"] = f"{COOKIE}={self.names.get(role, 'B' * 43)}"
        scope: Scope = {
            "type": kind,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http" if kind == "http" else "ws",
            "http_version": "1.1",
            "client": ("192.0.2.9", 4711),
            "server": ("10.0.0.7", 8000),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        if kind == "websocket":
            del scope["method"]
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        if kind == "websocket":
            return sent[0]["type"] == "websocket.accept"
        assert sent[0]["status"] in (200, 401, 403), sent[0]
        return sent[0]["status"] == 200


async def yes(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).accept()
    else:
        await PlainTextResponse("yes")(scope, receive, send)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("which", SETTINGS)
def test_every_door_opens_to_whom_the_policy_says(which: str, server: str, tmp_path: Path):
    tokens = set(SETTINGS[which])
    gate = Gate(server, tokens, tmp_path)
    paths = {door.path.replace("…", "swagger-ui.css") for door in gate.doors if door.method != "WS"}
    paths |= {
        "/",
        "/a/route/of/tomorrow",
        "/login/",
        "/health/x",
        "//health",
        "/static/a.js",
        "/assets",
        "/assets/a.js",
        "/deepstream/ui/",
        "/deepstream/assets",
        "/deepstream/assets/a.js",
        "/deepstream/health/x",
        "/deepstream/a/route/of/tomorrow",
        APPS,
    }
    tries = [("http", method, path) for method in METHODS for path in sorted(paths)]
    tries += [("websocket", "GET", path) for path in ("/", "/ws", "/health", "/login", APPS, f"{APPS}/x")]

    async def all_of_them() -> list[str]:
        wrong = []
        for (kind, method, path), caller, origin, host in itertools.product(tries, CALLERS, ORIGINS, HOSTS):
            may = allowed(server, kind, method, path, tokens, caller, origin, host)
            did = await gate.ask(kind, method, path, caller, origin, host)
            if may != did:
                wrong.append(
                    f"{kind} {method} {path} by {caller}, origin {origin}, host {host}: {did}, not {may}"
                )
        return wrong

    assert len(tries) * len(CALLERS) * len(ORIGINS) * len(HOSTS) > 8000
    assert asyncio.run(all_of_them()) == []


@pytest.mark.parametrize(("server", "socket"), [("worker", "/"), ("control server", APPS)])
def test_the_doors_are_those_that_the_documents_name(server: str, socket: str):
    app = SERVERS[server](Settings())
    found = {door.path for door in doors(app)}
    assert set(app.openapi()["paths"]) <= found
    assert {"/docs", "/openapi.json", "/asyncapi.json", "/static-offline-docs/…"} <= found
    assert [door.path for door in doors(app) if door.method == "WS"] == [socket]


@pytest.mark.parametrize("server", SERVERS)
def test_a_route_that_changes_something_and_is_added_later_needs_control(server: str):
    app = SERVERS[server](Settings.model_validate({"control_token": CONTROL, "view_token": VIEW}))
    done: list[str] = []

    @app.post("/later")
    async def later() -> None:
        done.append("later")

    client = TestClient(app)  # no worker is started: nothing here needs one
    assert client.post("/later", headers={"Authorization": f"Bearer {VIEW}"}).status_code == 403
    assert client.post("/later").status_code == 401
    assert done == []
    assert client.post("/later", headers={"Authorization": f"Bearer {CONTROL}"}).status_code == 200
    assert ("POST", "/later", "control") in [(*door, door.needs) for door in doors(app)]


def test_the_page_of_access_is_up_to_date():
    assert (ROOT / "docs" / "access.md").read_text(encoding="utf-8") == access_page()


def test_a_route_that_is_added_later_is_in_the_page(monkeypatch: pytest.MonkeyPatch):
    def with_one_more(settings: Settings) -> Any:
        app = create_control(settings)
        app.add_api_route("/deepstream/later", lambda: None, methods=["PUT"])
        return app

    monkeypatch.setattr("siwatsystem.deepstream.application.create_app", with_one_more)
    assert "| PUT | `/deepstream/later` | control |\n" in access_page()


COMMANDS: dict[str, dict[str, Any]] = {
    "subscribe": {
        "payload": {
            "subscriptionIdentifier": "d;c",
            "rtspUrl": "rtsp://127.0.0.1:9/x",
            "modelUrl": "http://127.0.0.1:9/a.mpta",
            "modelName": "m",
            "modelId": 1,
        }
    },
    "unsubscribe": {"payload": {"subscriptionIdentifier": "d;c"}},
    "requestState": {},
    "setSessionId": {"payload": {"displayIdentifier": "d", "sessionId": 7}},
    "patchSession": {"sessionId": 7, "data": {}},
    "patchSessionResult": {"payload": {"sessionId": 7, "success": True}},
}


@pytest.mark.parametrize("which", SETTINGS)
def test_every_command_is_taken_from_control_alone(which: str, tmp_path: Path):
    tokens = set(SETTINGS[which])
    assert set(COMMANDS) == set(COMMAND_TYPES)
    values = {"control_token": CONTROL, "view_token": VIEW}
    set_tokens = {key: value for key, value in values.items() if key.removesuffix("_token") in tokens}
    app = create_app(Settings.model_validate({"data_dir": tmp_path, "logs": {"file": None}, **set_tokens}))
    with TestClient(app) as client:
        for caller, token in (("nobody", None), ("view token", VIEW), ("control token", CONTROL)):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            may = "control" in held(tokens, caller)
            taken = [command for command in COMMANDS if takes(client, headers, command)]
            assert taken == (list(COMMANDS) if may else []), caller


def takes(client: TestClient, headers: dict[str, str], command: str) -> bool:
    """Whether the worker answers after that command, rather than refuse the WebSocket."""
    told = False
    # The test client ends the route's task when it leaves, and tells that as an error of its own.
    leaving = contextlib.suppress(WebSocketDisconnect, CancelledError)
    with leaving, client.websocket_connect("/", headers=headers) as socket:
        socket.send_text(json.dumps({"type": command, **COMMANDS[command]}))
        socket.send_text('{"type": "requestState"}')
        while not told:
            told = json.loads(socket.receive_text())["type"] == "stateReport"
    return told
