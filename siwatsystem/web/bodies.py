"""How much a request may bring along, and for how long: the worker's take no more than a token."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siwatsystem.web.access import SAFE_METHODS

MOST = 32 * 1024
SECONDS = 10.0


class BodyLimit:
    """Answers 413 to a body that is too large and 408 to one that takes too long; none is kept meanwhile."""

    def __init__(self, app: ASGIApp, most: int = MOST) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + SECONDS
        size, whole = 0, False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {SECONDS:g} s") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self._most:
                raise HTTPException(413, f"a body of more than {self._most} bytes is not taken")
            return message

        await self._app(scope, limited, send)
