"""How much a request may bring along, and for how long: mostly no more than a token."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siwatsystem.web.access import SAFE_METHODS

MOST = 32 * 1024
SECONDS = 10.0
ALLOWED = "siwatsystem.allowed"
"""Key of a request's scope: the `Allowance` of its body, for the server, once its caller was let in."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the body of a `POST` may have: bytes, and seconds to come in."""

    size: int
    seconds: float


class BodyLimit:
    """Answers 413 to a body that is too large and 408 to one that takes too long; none is kept meanwhile."""

    def __init__(self, app: ASGIApp, most: int = MOST, larger: Mapping[str, Allowance] | None = None) -> None:
        """`larger`: what single paths allow a `POST`. Who calls is to be judged before."""
        self._app = app
        self._most = most
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        allowed = self._larger.get(scope["path"]) if scope["method"] == "POST" else None
        if allowed is not None:
            scope[ALLOWED] = allowed
        most, seconds = (self._most, SECONDS) if allowed is None else (allowed.size, allowed.seconds)
        deadline = asyncio.get_running_loop().time() + seconds
        size, whole = 0, False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {seconds:g} s") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > most:
                raise HTTPException(413, f"more than {_told(most)} are not taken")
            return message

        await self._app(scope, limited, send)


def _told(size: int) -> str:
    return f"{size} bytes" if size < 1_000_000 else f"{size / 1e6:g} MB"
