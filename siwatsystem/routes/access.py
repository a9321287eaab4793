"""Who may: a table of paths and roles, default deny, checked before any route runs.

Without tokens everything is open, and the server binds to loopback (see `siwatsystem.server`).
With a token set, programs send it as `Authorization: Bearer …`; `control` may also view.
"""

import hmac
import logging
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from siwatsystem.config import Settings

if TYPE_CHECKING:
    from siwatsystem.worker import Worker

log = logging.getLogger(__name__)

Role = Literal["open", "view", "control"]

OPEN_PATHS = frozenset({"/", "/health", "/favicon.ico"})
OPEN_PREFIX = "/static/"


def worker_of(connection: HTTPConnection) -> "Worker":
    """The worker that serves this request."""
    worker: Worker = connection.app.state.worker
    return worker


def needed_role(kind: str, path: str) -> Role:
    """What a request must be allowed to do; anything not listed needs `view` at least."""
    if kind == "websocket":
        return "control"
    return "open" if path in OPEN_PATHS or path.startswith(OPEN_PREFIX) else "view"


def roles_of(token: str | None, settings: Settings) -> frozenset[Role]:
    """The roles that a bearer token gives. What no token guards, everybody may."""
    if token is not None and _same(token, settings.control_token):
        return frozenset({"open", "view", "control"})
    roles: set[Role] = {"open"}
    if settings.control_token is None:
        roles.add("control")
    if settings.control_token is None and settings.view_token is None:
        roles.add("view")
    if token is not None and _same(token, settings.view_token):
        roles.add("view")
    return frozenset(roles)


def same_origin(headers: Headers) -> bool:
    """Whether a browser's request comes from our own pages; programs send no `Origin`."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


class AccessMiddleware:
    """Refuses what the caller's token does not allow: 401 without a known one, 403 with too little."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        roles = roles_of(_bearer(headers), self._settings)
        allowed = needed_role(kind, scope["path"]) in roles
        if kind == "websocket":
            if allowed and same_origin(headers):
                await self._app(scope, receive, send)
            else:
                await WebSocket(scope, receive, send).close(1008, "not allowed")
            return
        if allowed:
            await self._app(scope, receive, send)
            return
        status = 403 if "view" in roles else 401
        challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        response = JSONResponse({"detail": "a token is needed"}, status, headers=challenge)
        await response(scope, receive, send)


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _same(token: str, secret: SecretStr | None) -> bool:
    return secret is not None and hmac.compare_digest(token.encode(), secret.get_secret_value().encode())
