"""The control server as `siwat control` runs it, whose answers say how long they took it (`Server-Timing`).

python -m bench.control_server
"""

import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siwatsystem.commands.control import control
from siwatsystem.deepstream import application

HEADER = "server-timing"


class Timed:
    """From the request's arrival in the application to the first byte of its answer, in ms."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                took = f"app;dur={(time.perf_counter() - began) * 1000:.3f}"
                message["headers"] = [*message.get("headers", ()), (HEADER.encode(), took.encode())]
            await send(message)

        await self._app(scope, receive, told if scope["type"] == "http" else send)


def main() -> None:
    create = application.create_app

    def timed(*args: Any, **more: Any) -> Any:
        app = create(*args, **more)
        app.add_middleware(Timed)  # type: ignore[arg-type]
        return app

    application.create_app = timed
    control()


if __name__ == "__main__":
    main()
