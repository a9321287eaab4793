"""Who may: a table of paths and roles, default deny, checked before any route runs.

Without tokens everything is open, and the server binds to loopback (see `siwatsystem.server`).
With a token set, programs send it as `Authorization: Bearer …`; `control` may also view. Browsers trade
it once for a cookie (`routes.login`).
"""

import hmac
import ipaddress
import logging
import time
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from siwatsystem.config import Settings
from siwatsystem.logins import LoginRole, Logins

if TYPE_CHECKING:
    from siwatsystem.worker import Worker

log = logging.getLogger(__name__)

Role = Literal["open", "view", "control"]

OPEN_PATHS = frozenset({"/", "/health", "/favicon.ico", "/login", "/logout"})
COOKIE = "siwat_login"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PREFIX = "/static/"


def worker_of(connection: HTTPConnection) -> "Worker":
    """The worker that serves this request."""
    worker: Worker = connection.app.state.worker
    return worker


def logins_of(connection: HTTPConnection) -> Logins:
    """The browsers that have logged in."""
    logins: Logins = connection.app.state.logins
    return logins


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


def known_host(headers: Headers, settings: Settings) -> bool:
    """Whether a browser's request names this worker as its operator does: by an address, `localhost`, or one
    of the `hostnames` that are set.

    A name that anybody may point at 127.0.0.1 makes a page of theirs look like one of ours.
    """
    if headers.get("origin") is None:
        return True
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    if host == "localhost" or host in settings.hostnames:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class AccessMiddleware:
    """Refuses what the caller's token does not allow: 401 without a known one, 403 with too little."""

    def __init__(self, app: ASGIApp, settings: Settings, logins: Logins) -> None:
        self._app = app
        self._settings = settings
        self._logins = logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        roles = roles_of(_bearer(headers), self._settings)
        role = self._logged_in(kind, scope, headers)
        if role is not None:
            roles |= {"view", role}
        allowed = needed_role(kind, scope["path"]) in roles
        if kind == "websocket":
            if allowed and same_origin(headers) and self._meant(headers):
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

    def _logged_in(self, kind: str, scope: Scope, headers: Headers) -> LoginRole | None:
        """The role of the login that the cookie stands for. A cookie is sent by whatever page makes a browser
        ask: it counts for reading, and for what our own pages ask."""
        if kind == "http" and scope["method"] not in SAFE_METHODS and not same_origin(headers):
            return None
        cookies = headers.get("cookie")
        name = None if cookies is None else cookie_parser(cookies).get(COOKIE)
        return self._logins.role(name, time.monotonic())

    def _meant(self, headers: Headers) -> bool:
        """Whether the caller means this worker. A token shows that it does."""
        return self._settings.control_token is not None or known_host(headers, self._settings)


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _same(token: str, secret: SecretStr | None) -> bool:
    return secret is not None and hmac.compare_digest(token.encode(), secret.get_secret_value().encode())
