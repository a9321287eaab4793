"""Who may: a rule over methods and paths, default deny, checked before any route runs.

Without tokens everything is open, and the server binds to loopback (see `siwatsystem.server`).
With a token set, programs send it as `Authorization: Bearer …`; `control` may also view. Browsers trade
it once for a cookie (`web.login`). `docs/access.md` shows what the rule makes of every route.
"""

import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from siwatsystem.config import Settings
from siwatsystem.guesses import Guesses
from siwatsystem.logins import LoginRole, Logins
from siwatsystem.metrics import TOKENS_REFUSED

log = logging.getLogger(__name__)

Role = Literal["open", "view", "control"]

OPEN_PATHS = frozenset({"/", "/health", "/favicon.ico", "/deepstream/health", "/deepstream/ui"})
OPEN_FOLDERS = ("/assets/", "/deepstream/assets/")
"""What pages are made of (`web.static`): to read, nothing else."""
OPEN_POSTS = frozenset({"/login", "/logout"})
"""What a browser does to get and end a login; both look at its origin themselves."""
COOKIE = "siwat_login"
ROLE = "siwatsystem.role"
"""Key of a request's scope: what its caller may, where more than an open door was asked for."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
WEBHOOK = "webhook-id"
"""Header of every webhook of a worker, which is never a command."""
TOO_MANY = "too many wrong tokens came from this address: try again in a second"


Whose = Callable[[str], str | None]
"""Who has this token; None: nobody."""


def logins_of(connection: HTTPConnection) -> Logins:
    """The browsers that have logged in."""
    logins: Logins = connection.app.state.logins
    return logins


def guesses_of(connection: HTTPConnection) -> Guesses:
    """The addresses that tried wrong tokens lately."""
    guesses: Guesses = connection.app.state.guesses
    return guesses


def role_of(connection: HTTPConnection) -> LoginRole:
    """What the caller of a guarded route may."""
    role: LoginRole = connection.scope.get(ROLE, "view")
    return role


def needed_role(kind: str, path: str, method: str = "GET") -> Role:
    """What a request must be allowed to do: whatever is not listed needs `view` to read, `control` else."""
    if kind == "websocket":
        return "control"
    if method not in SAFE_METHODS:
        return "open" if method == "POST" and path in OPEN_POSTS else "control"
    return "open" if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) else "view"


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


def tried(peer: str, token: str | None, settings: Settings, guesses: Guesses) -> frozenset[Role] | None:
    """`roles_of` a token that `peer` sent; None, without looking at it, after too many wrong ones."""
    guarded = settings.control_token is not None or settings.view_token is not None
    if token is None or not guarded:
        return roles_of(token, settings)
    now = time.monotonic()
    if not guesses.may(peer, token, now):
        _tell(peer, "too_many", guesses.refused(peer, now))
        return None
    if not _same(token, settings.control_token) and not _same(token, settings.view_token):
        guesses.wrong(peer, token, now)
        _tell(peer, "wrong", guesses.refused(peer, now))
    return roles_of(token, settings)


def _tell(peer: str, reason: str, count: int) -> None:
    """Count a refused token, and log those of an address now and then. A proxy may name anything."""
    TOKENS_REFUSED.labels(reason).inc()
    if count:
        where = peer if peer.isprintable() else repr(peer)
        log.warning("%d wrong token(s) from %s", count, where[:80])


def peer_of(scope: Scope) -> str:
    """The address that a request came from; behind one of the `proxies` that are set, what that names."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def same_origin(headers: Headers) -> bool:
    """Whether a browser's request comes from our own pages; programs send no `Origin`."""
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:  # no address at all, such as `http://[`
        return False


def known_host(headers: Headers, settings: Settings) -> bool:
    """Whether a browser's request names this worker as its operator does: by an address, `localhost`, or one
    of the `hostnames` that are set.

    A name that anybody may point at 127.0.0.1 makes a page of theirs look like one of ours.
    """
    if headers.get("origin") is None:
        return True
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if host == "localhost" or host in settings.hostnames:
            return True
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class AccessMiddleware:
    """Refuses what the caller's token does not allow: 401 without a known one, 403 with too little, 429 to
    who tries too many.

    `sockets`: for the path of a WebSocket, whose the tokens are that open it and nothing else. The route
    finds who it is in `state.caller`, and has to hold them to it. `body`: of a refusal, from its reason.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        logins: Logins,
        guesses: Guesses,
        sockets: Mapping[str, Whose] | None = None,
        body: Callable[[str], object] = lambda reason: {"detail": reason},
    ) -> None:
        self._app = app
        self._settings = settings
        self._logins = logins
        self._guesses = guesses
        self._sockets = sockets or {}
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status = self._refusal(kind, scope)
        if status is None:
            await self._app(scope, receive, send)
        elif kind == "websocket":
            socket = WebSocket(scope, receive, send)
            if status == 429:
                # Accepted, because a client is told 403 of all else: its token may well be right.
                await socket.accept()
                await socket.close(1013, TOO_MANY)
            else:
                await socket.close(1008, "not allowed")
        else:
            more = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(status)
            given = _bearer(Headers(scope=scope)) is not None
            unknown = "the token is not known here" if given else "a token is needed"
            detail = {401: unknown, 429: TOO_MANY}.get(status, "not allowed")
            await JSONResponse(self._body(detail), status, headers=more)(scope, receive, send)

    def _refusal(self, kind: str, scope: Scope) -> int | None:
        """The HTTP status of a refusal; None for what is allowed."""
        reading = kind == "http" and scope["method"] in SAFE_METHODS
        needed = needed_role(kind, scope["path"], scope.get("method", "GET"))
        if needed == "open":
            return None
        headers = Headers(scope=scope)
        token = _bearer(headers)
        if self._known(kind, scope, token):
            return None if same_origin(headers) and self._meant(headers) else 403
        roles = tried(peer_of(scope), token, self._settings, self._guesses)
        if roles is None:
            return 429
        role = self._logged_in(kind, scope, headers)
        if role is not None:
            roles |= {"view", role}
        if needed not in roles:
            return 403 if "view" in roles else 401
        scope[ROLE] = "control" if "control" in roles else "view"
        # A browser sends what a page of others asks for, in the name of whoever sits before it; a worker on
        # this machine what an archive of others makes it post.
        meant = WEBHOOK not in headers and same_origin(headers) and self._meant(headers)
        return None if reading or meant else 403

    def _known(self, kind: str, scope: Scope, token: str | None) -> bool:
        """Whether the token is one of those that open this WebSocket alone."""
        whose = self._sockets.get(scope["path"]) if kind == "websocket" else None
        caller = None if whose is None or token is None else whose(token)
        if caller is None:
            return False
        scope.setdefault("state", {})["caller"] = caller
        return True

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
