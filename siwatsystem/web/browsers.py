"""What every answer tells a browser: take it for what it says it is, keep no copy, and where pages stand."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
ASSETS = "/static-offline-docs/"
"""Files of the documentation page, the same for everybody; all else is of this moment and of this caller."""
PAGES = "default-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; style-src 'self' \
'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""For pages that a library makes, with its script in them."""
OWN_FILES = (
    # `blob:` is what a page's own script has fetched, and shows.
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For our pages whose scripts and styles are files (`web.static`)."""


class BrowserHeaders:
    """Adds them to every answer; what a route has set stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kept: bool = scope["path"].startswith(ASSETS)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *ALWAYS]
                headers = MutableHeaders(raw=message["headers"])
                if not kept:
                    headers.setdefault("cache-control", "no-store")
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("content-security-policy", PAGES)
            await send(message)

        await self._app(scope, receive, told)
